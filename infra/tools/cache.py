"""The folder outside the repository where finished binaries lie: one folder for each family and content.

A binary appears in its place by a rename, whole; whoever finds one there may run it. One build at a time works in it.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from infra.tools.go import GoMustBeInstalledError
from infra.tools.pins import Family, Tool
from infra.tools.planning import Step, Toolchain, content_hash, go_version_min, is_new_enough, version_of

MODULES = Path(__file__).parent
"""Where the modules of the families lie."""


def cache_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "cellwallet" / "infra-tools"


def survey(
    wanted: Iterable[tuple[Family, Tool]], *, toolchain: Toolchain, root: Path, modules: Path = MODULES
) -> list[Step]:
    """What is wanted, where it belongs, and whether it is there.

    Raises:
        GoMustBeInstalledError: the installed Go is too old for one of them.

    """
    return [_step(family, tool, toolchain, root, modules / family.folder) for family, tool in wanted]


def _step(family: Family, tool: Tool, toolchain: Toolchain, root: Path, module: Path) -> Step:
    sources = {path.name: path.read_bytes() for path in sorted(module.iterdir()) if path.is_file()}
    go_mod = sources["go.mod"].decode()
    if not is_new_enough(toolchain, go_version_min(go_mod)):
        needed = ".".join(map(str, go_version_min(go_mod)))
        raise GoMustBeInstalledError(f"{tool.name} needs go {needed} or later; installed is {toolchain.version}")
    file = root / f"{family.folder}-{content_hash(family, sources, toolchain)}" / tool.name
    return Step(family=family, tool=tool, version=version_of(family, go_mod), file=file, is_built=file.exists())


@contextmanager
def work_folder(root: Path, *, tell_waiting: Callable[[], None]) -> Iterator[Path]:
    """An empty folder for what is not finished, ours alone; what a killed build left in it is gone."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell_waiting()
            fcntl.flock(lock, fcntl.LOCK_EX)
        work = root / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def publish(unfinished: Path, step: Step) -> None:
    """To its place at once, and into `bin`, the folder for a shell's PATH."""
    step.file.parent.mkdir(exist_ok=True)
    unfinished.rename(step.file)
    link(step)


def link(step: Step) -> None:
    """Programs go by `Step.file`; `bin` is for people, and names what was asked for last."""
    folder = step.file.parents[1] / "bin"
    folder.mkdir(exist_ok=True)
    fresh = folder / f".{step.tool.name}.{os.getpid()}"
    fresh.symlink_to(Path("..") / step.file.parent.name / step.file.name)
    fresh.rename(folder / step.tool.name)
