"""Builds one binary after the other, tells how far it is, and leaves each in its place or not at all.

Go's own build cache keeps what an interrupted build has compiled, so the next one goes on where it ended.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from contract.values import value
from infra.tools.cache import MODULES, publish
from infra.tools.go import Finished, TimeIsOverError, go_environment, run_go
from infra.tools.planning import Step, build_command, downloaded_module, is_package, listing_command, tail

TAIL_LINES = 20


class Display(Protocol):
    """Who shows how far a build is."""

    def downloading(self, step: Step, module: str) -> None: ...
    def compiling(self, step: Step, *, done: int, of: int) -> None: ...


@value
class Built:
    step: Step
    seconds: float
    downloading_seconds: float
    """Of `seconds`: resolving packages and downloading modules."""
    peak_bytes: int
    packages: int
    """Compiled in this run; the rest came from Go's cache."""


@value
class Failed:
    step: Step
    problem: str


@value
class OutOfTime:
    step: Step


Outcome = Built | Failed | OutOfTime


def build(
    steps: Iterable[Step],
    *,
    work: Path,
    environment: Mapping[str, str],
    display: Display,
    seconds_max: float | None = None,
    modules: Path = MODULES,
) -> Iterator[Outcome]:
    """One after the other, because two at once need the memory of two; a failure of one does not stop the others."""
    end = None if seconds_max is None else time.monotonic() + seconds_max
    for step in steps:
        remaining = None if end is None else end - time.monotonic()
        if remaining is not None and remaining <= 0:
            yield OutOfTime(step=step)
            continue
        run = _Build(step, modules / step.family.folder, work, environment, display, end)
        try:
            yield run.outcome()
        except TimeIsOverError:
            yield OutOfTime(step=step)


class _Build:
    def __init__(
        self, step: Step, module: Path, work: Path, environment: Mapping[str, str], display: Display, end: float | None
    ) -> None:
        self._step = step
        self._module = module
        self._unfinished = work / step.tool.name
        self._environment = go_environment(environment, work=work)
        self._display = display
        self._end = end
        self._said: list[str] = []
        self._to_compile = 0
        self._compiled = 0

    def outcome(self) -> Outcome:
        listed = self._run(listing_command(self._step), self._hear_list)
        if listed.exit_code != 0:
            return self._failed()
        self._display.compiling(self._step, done=0, of=self._to_compile)
        compiled = self._run(build_command(self._step, self._unfinished), self._hear_compiler)
        if compiled.exit_code != 0:
            return self._failed()
        publish(self._unfinished, self._step)
        return Built(
            step=self._step,
            seconds=listed.seconds + compiled.seconds,
            downloading_seconds=listed.seconds,
            peak_bytes=max(listed.peak_bytes, compiled.peak_bytes),
            packages=self._compiled,
        )

    def _run(self, command: list[str], hear: Callable[[str], None]) -> Finished:
        self._said.clear()

        def tell(line: str) -> None:
            self._said.append(line)
            hear(line)

        remaining = None if self._end is None else max(self._end - time.monotonic(), 0.001)
        return run_go(command, folder=self._module, environment=self._environment, tell=tell, seconds_max=remaining)

    def _hear_list(self, line: str) -> None:
        module = downloaded_module(line)
        if module is not None:
            self._display.downloading(self._step, module)
        self._to_compile += is_package(line)

    def _hear_compiler(self, line: str) -> None:
        if is_package(line):
            self._compiled += 1
            self._display.compiling(self._step, done=self._compiled, of=max(self._to_compile, self._compiled))

    def _failed(self) -> Failed:
        return Failed(step=self._step, problem="\n".join(tail(self._said, TAIL_LINES)) or "go said nothing")
