"""Rendering the charts by the program `helm`, which must be there: values in, objects out.

Rendered here and not by a provider, so that every object is seen, held against the policies and shown by a preview
before anything is touched. The charts have no hooks, so nothing of them is lost by that.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cellwallet.helm import ChartRefusedError, HelmMustRunError, templated
from infra.manifests import Object, Render, in_namespace

CHARTS = Path(__file__).parents[1] / "helm"


class ChartMustRenderError(Exception):
    """Helm is missing or refuses the values; the message is its own."""


def helm_renderer(program: str = "helm", *, charts: Path = CHARTS) -> Render:
    """The renderer; `helm` is looked for when it is first needed."""

    def render(chart: str, values: Mapping[str, Any], namespace: str) -> list[Object]:
        try:
            text = templated(chart, charts / chart, values, "--namespace", namespace, program=program)
        except HelmMustRunError as error:
            raise ChartMustRenderError(str(error)) from error
        except ChartRefusedError as error:
            raise ChartMustRenderError(f"{chart}: {error}") from error
        return in_namespace([one for one in yaml.safe_load_all(text) if one], namespace)

    return render
