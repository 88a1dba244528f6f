"""What the page of a fleet on Kubernetes lets an operator say to a control plane elsewhere, said to a real one.

The platform runs on this machine, and the verbs do not know where: they have nothing but an address and a token. What
a platform here cannot carry out, an image, is refused by the control plane itself, by name.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_platform import LocalPlatform, local_platform
from page_commands import blocks_of, commands_of

from cellwallet.commands.operators import TOKEN, URL

pytestmark = pytest.mark.timeout(580)

PAGE = Path(__file__).parents[3] / "docs" / "running" / "fleet_on_kubernetes.md"
ZONES = {"zone-a": "a", "zone-b": "b", "zone-c": "c"}
"""As the page names them, and as they are named here."""
REFUSED = {
    ("rollouts", "start"): "release_must_be_known",
    ("rollouts", "roll-back"): "rollout_must_exist",
}
"""Of the page's examples: an image that nobody has described here, and an order that was never given."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalPlatform]:
    """Two cells that serve and a third one that has joined and is empty, as the page has them at that point."""
    with local_platform(tmp_path_factory.mktemp("page") / "data", cells=2, api_processes=2) as running:
        running.run("cells", "add", "--empty")
        yield running


def said(platform: LocalPlatform, folder: Path, words: list[str]) -> subprocess.CompletedProcess[str]:
    """From a folder that holds no platform."""
    stack = platform.stack
    named = {URL: stack.control_plane_url, TOKEN: stack.tokens.operator}
    return subprocess.run(
        [sys.executable, "-m", "cellwallet", *(ZONES.get(word, word) for word in words)],
        cwd=folder,
        env={**os.environ, **named},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def page_verbs() -> list[list[str]]:
    marked = [block for block in blocks_of(PAGE.read_text()) if block.meaning == "needs running pods"]
    return [words for block in marked for words in commands_of(block, "cellwallet")]


def test_every_verb_of_the_page_is_understood_and_answered(platform: LocalPlatform, tmp_path: Path) -> None:
    verbs = page_verbs()
    assert len(verbs) >= 10
    for words in verbs:
        told = said(platform, tmp_path, words)
        reason = REFUSED.get((words[0], words[1]))
        assert told.returncode == (0 if reason is None else 1), f"{words}\n{told.stdout}\n{told.stderr}"
        assert reason is None or reason in told.stderr, f"{words}\n{told.stderr}"
    states = {one["id"]: one["state"] for one in platform.run_json("cells", "list")["cells"]}
    assert states["cell-3"] == "active"
    evacuated = platform.run_json("evacuations", "list")["evacuations"]
    assert [one["zone"] for one in evacuated] == [ZONES["zone-c"]]


def test_a_token_that_nobody_issued_is_refused(
    platform: LocalPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutant: it is the named token that opens the way, and no file of this machine."""
    stack = platform.stack
    monkeypatch.setenv(URL, stack.control_plane_url)
    monkeypatch.setenv(TOKEN, stack.tokens.vendor)
    told = subprocess.run(
        [sys.executable, "-m", "cellwallet", "cells", "list"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 1
    assert "scope" in told.stderr
