"""A cluster that somebody else made: its context in a kubeconfig is all that is needed."""

from infra.settings import Kubeconfig
from infra.substrates import Substrate, kubernetes_provider


def connect(settings: Kubeconfig) -> Substrate:
    inputs = {"context": settings.context}
    if settings.file is not None:
        inputs["kubeconfig"] = settings.file
    return Substrate(kubernetes=kubernetes_provider("kubernetes", inputs))
