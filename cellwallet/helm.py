"""The program `helm`: values in, the text of a rendered chart out. Knows no chart, and does not read what comes out."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KUBE_VERSION = "1.36.1"
"""Said, because older engines of Helm otherwise take an old one; the charts look at nothing but the minimum."""
TIMEOUT_S = 60.0


class HelmMustRunError(Exception):
    """It is missing, or does not answer in time."""


class ChartRefusedError(Exception):
    """Helm refuses the chart or the values; the message is its own."""


def templated(release: str, chart: Path, values: Mapping[str, Any], *options: str, program: str = "helm") -> str:
    """Objects as YAML.

    Raises:
        HelmMustRunError: there is no such program on the PATH, or it takes longer than `TIMEOUT_S`.
        ChartRefusedError: the values do not fit the chart's schema, or the chart does not render.

    """
    found = shutil.which(program)
    if found is None:
        raise HelmMustRunError(f"{program} must be installed and on the PATH: charts are rendered by it")
    command = [found, "template", release, str(chart), *options, "--kube-version", KUBE_VERSION, "--values", "-"]
    try:
        told = subprocess.run(  # noqa: S603 - found on the PATH
            command, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise HelmMustRunError(f"{program} must answer within {TIMEOUT_S:g} s") from error
    if told.returncode != 0:
        raise ChartRefusedError(told.stderr.strip() or told.stdout.strip())
    return told.stdout
