"""Rendering the charts by the program `helm`, which must be there: values in, objects out.

Rendered here and not by a provider, so that every object is seen, held against the policies and shown by a preview
before anything is touched. The charts have no hooks, so nothing of them is lost by that.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.manifests import Object, Render, in_namespace

CHARTS = Path(__file__).parents[1] / "helm"
KUBE_VERSION = "1.36.1"
"""Said, because older engines of Helm otherwise take an old one; the charts look at nothing but the minimum."""
TIMEOUT_S = 60.0


class ChartMustRenderError(Exception):
    """Helm is missing or refuses the values; the message is its own."""


def helm_renderer(program: str = "helm", *, charts: Path = CHARTS) -> Render:
    """The renderer; `helm` is looked for when it is first needed."""

    def render(chart: str, values: Mapping[str, Any], namespace: str) -> list[Object]:
        options = ["--namespace", namespace, "--kube-version", KUBE_VERSION, "--values", "-"]
        text = _helm(program, ["template", chart, str(charts / chart), *options], json.dumps(values))
        return in_namespace([one for one in yaml.safe_load_all(text) if one], namespace)

    return render


def _helm(program: str, words: list[str], given: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ChartMustRenderError(f"{program} must be installed and on the PATH: the charts are rendered by it")
    try:
        told = subprocess.run(  # noqa: S603 - found on the PATH
            [found, *words], input=given, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ChartMustRenderError(f"{program} must answer within {TIMEOUT_S:g} s") from error
    if told.returncode != 0:
        raise ChartMustRenderError(f"{words[1]}: {told.stderr.strip() or told.stdout.strip()}")
    return told.stdout
