"""docs/running/vendor_quick_start.md is true: its blocks run, in order, against a real platform."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from local_platform import REPOSITORY, LocalPlatform

PAGE = REPOSITORY / "docs" / "running" / "vendor_quick_start.md"
BLOCKS_MIN = {"sh": 2, "python": 12}


def _blocks(language: str) -> str:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= BLOCKS_MIN[language]
    return "\n".join(blocks)


def _run(command: list[str], environment: dict[str, str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_python_blocks_run(platform: LocalPlatform) -> None:
    stack = platform.stack
    told = _run([sys.executable, "-c", _blocks("python")], {"URL": stack.router_url, "TOKEN": stack.tokens.vendor})
    assert "paid; left: 8750" in told


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's shell blocks need curl")
def test_the_shell_blocks_run(platform: LocalPlatform, tmp_path: Path) -> None:
    command = tmp_path / "cellwallet"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cellwallet "$@"\n')
    command.chmod(0o700)
    told = _run(
        ["bash", "-euo", "pipefail", "-c", _blocks("sh")],
        {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CELLWALLET_DATA": str(platform.data)},
    )
    assert '"balance":8750' in told
