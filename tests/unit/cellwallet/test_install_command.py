"""`cellwallet cells install` before anybody is asked: what the chart refuses, and which control plane is meant."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from charts import HELM, example, helm_program, needs_helm
from click.testing import Result
from typer.testing import CliRunner

from cellwallet.__main__ import app

IMAGE = "registry.example/cellwallet/cell@sha256:" + "1" * 64
URL, TOKEN = "CELLWALLET_CONTROL_PLANE_URL", "CELLWALLET_OPERATOR_TOKEN"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody listens where the control plane is said to be."""
    program = helm_program()
    folder = tmp_path / "bin"
    folder.mkdir()
    if program is not None:
        (folder / "helm").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.defpath}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(URL, "http://127.0.0.1:1")
    monkeypatch.setenv(TOKEN, "token")


def install(folder: Path, changes: dict[str, Any], *, image: str = IMAGE) -> Result:
    values = {**example("cell-app", "three-zones"), **changes}
    del values["image"]
    file = folder / "values.json"
    file.write_text(json.dumps(values | changes))
    words = ["cells", "install", "--values", str(file), "--image", image, "--chart", str(HELM / "cell-app")]
    return CliRunner().invoke(app, words)


def said(result: Result) -> str:
    assert result.exit_code == 1, result.output
    return " ".join(result.stderr.split())


@needs_helm
@pytest.mark.parametrize(
    ("changes", "image", "words"),
    [
        ({"replicasPerZnoe": 3}, IMAGE, "replicasPerZnoe"),
        ({"zones": ["a"]}, IMAGE, "zones"),
        ({"replicasPerZone": -3}, IMAGE, "replicasPerZone"),
        ({"cell": {"id": "cell-1", "homeZone": "z"}}, IMAGE, "cell.homeZone must be one of the zones"),
        ({"image": {"repository": "a/b"}}, IMAGE, "the image must be named by --image alone"),
        ({}, "registry.example/cellwallet/cell:1.4", "repository"),
        ({}, "registry.example/cellwallet/cell", "digest"),
        ({}, IMAGE, "the control plane does not answer"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_in_words(tmp_path: Path, changes: dict[str, Any], image: str, words: str) -> None:
    """The last one has nothing wrong: it comes as far as asking."""
    assert words in said(install(tmp_path, changes, image=image))


@pytest.mark.parametrize("text", ["zones: [a, b, c]", "[1, 2]", ""])
def test_values_must_be_a_json_object(tmp_path: Path, text: str) -> None:
    file = tmp_path / "values"
    file.write_text(text)
    result = CliRunner().invoke(app, ["cells", "install", "--values", str(file), "--image", IMAGE])
    assert "must hold values as JSON" in said(result)


def test_without_helm_nothing_can_be_rendered_and_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert "helm must be installed and on the PATH" in said(install(tmp_path, {}))
