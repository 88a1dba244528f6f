"""Each built tool runs, and is of the version that its module pins."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.tools.cache import MODULES
from infra.tools.planning import named_families, version_of

ASKED = {
    "etcd": ["--version"],
    "kube-apiserver": ["--version"],
    "kube-controller-manager": ["--version"],
    "kube-scheduler": ["--version"],
    "kubectl": ["version", "--client"],
    "kwok": ["--version"],
    "helm": ["version", "--short"],
    "pulumi": ["version"],
    "kubectl-cnpg": ["version"],
}


def test_every_tool_is_asked() -> None:
    assert set(ASKED) == {tool.name for _, tool in named_families([])}


@pytest.mark.parametrize("name", ASKED)
def test_a_built_tool_names_the_version_of_its_pin(
    name: str, tools_or_skip: Callable[[list[str]], dict[str, Path]]
) -> None:
    file = tools_or_skip([name])[name]
    answer = subprocess.run([file, *ASKED[name]], capture_output=True, text=True, check=True, timeout=60)
    family = next(family for family, tool in named_families([name]) if tool.name == name)
    version = version_of(family, (MODULES / family.folder / "go.mod").read_text())
    assert version.removeprefix("v") in answer.stdout
