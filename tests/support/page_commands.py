"""The commands of a page, read as its readers would copy them, and a shell that runs them one block after the other.

A block is fenced as `sh`. Its first line may say how it is meant: `# needs running pods` is not run where pods are
simulated, `# is refused` must fail. There is nothing else: what is neither run nor marked cannot be written.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from contract.values import value

Meaning = Literal["runs", "is refused", "needs running pods"]
MARKS: tuple[Meaning, ...] = ("is refused", "needs running pods")
FENCE = "```"
BLOCK_TIMEOUT_S = 900.0
STATE = ".shell"
"""What the blocks before have exported and defined."""


class PageMustBeRunnableError(Exception):
    """The page holds commands that nothing would run; the message names the line."""


@value
class Block:
    line: int
    """Of its fence, as an editor counts."""
    script: str
    meaning: Meaning


@value
class Ran:
    block: Block
    code: int
    output: str

    @property
    def is_as_meant(self) -> bool:
        return (self.code != 0) == (self.block.meaning == "is refused")


def blocks_of(page: str) -> list[Block]:
    """In their order.

    Raises:
        PageMustBeRunnableError: a block is not fenced as `sh`, says something unknown of itself, or is not closed.

    """
    return list(_blocks(page.splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    opened: int | None = None
    for number, line in enumerate(lines, start=1):
        if line.startswith(FENCE) and opened is None:
            if line != f"{FENCE}sh":
                raise PageMustBeRunnableError(f"line {number}: {line!r} must be {FENCE}sh")
            opened = number
        elif line.startswith(FENCE) and opened is not None:
            script = lines[opened : number - 1]
            yield Block(line=opened, script="\n".join(script) + "\n", meaning=_meaning(script, opened))
            opened = None
        elif opened is None and re.match(r" {4}|\t", line):
            raise PageMustBeRunnableError(f"line {number}: commands must be fenced")
    if opened is not None:
        raise PageMustBeRunnableError(f"line {opened}: the block must end")


def _meaning(script: list[str], line: int) -> Meaning:
    first = script[0] if script else ""
    if not first.startswith("#"):
        return "runs"
    said = first.removeprefix("#").strip()
    for mark in MARKS:
        if re.fullmatch(rf"{mark}: .+", said):
            return mark
    raise PageMustBeRunnableError(f"line {line + 1}: {first!r} must say one of {', '.join(MARKS)}, and why")


def commands_of(block: Block, program: str) -> list[list[str]]:
    """The words of each plain command of a program in the block, without the program itself."""
    joined = block.script.replace("\\\n", " ")
    words = (shlex.split(line, comments=True) for line in joined.splitlines() if line.startswith(f"{program} "))
    return [found[1:] for found in words]


class Shell:
    """One bash after the other, each with what the ones before have exported and defined; begins in a folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = dict(environment)
        (folder / STATE).touch()

    def run(self, block: Block) -> Ran:
        keep = f"{{ export -p; declare -f; }} > {STATE}"
        script = f"set -euo pipefail\n. ./{STATE}\n{block.script}\n{keep}\n"
        try:
            told = subprocess.run(
                ["/bin/bash", "-c", script],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=BLOCK_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            return Ran(block=block, code=124, output=f"{error.output!r}\nnot done in {BLOCK_TIMEOUT_S:g} s")
        return Ran(block=block, code=told.returncode, output=told.stdout)


def shell_in(folder: Path, *, tools: Mapping[str, Path], here: Path, kubeconfig: Path, bin_folder: Path) -> Shell:
    """A shell of somebody who has checked out the repository, has the tools on the path, and has this cluster."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name, file in tools.items():
        (programs / name).symlink_to(file)
    work = folder / "work"
    work.mkdir()
    for name in ("helm", "docs", "infra"):
        (work / name).symlink_to(here / name)
    environment = {
        "PATH": os.pathsep.join([str(programs), str(bin_folder), os.defpath]),
        "HOME": str(folder),
        "KUBECONFIG": str(kubeconfig),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
    }
    return Shell(work, environment)
