"""Stacks run by Pulumi's own engine on this machine: state in a folder, programs in this process, stand-in clouds."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pulumi import automation as auto
from stacks import read, small_charts
from stand_in_provider import StandInProvider, World, serving

from contract.values import value
from infra.manifests import Render
from infra.policies import Declared
from infra.program import run
from infra.stack_state import declared_in

PROJECT = "cellwallet"
LEAVES_LOOPS = (
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)
"""For modules of tests: the library leaves event loops of its threads, and coroutines of programs that were refused."""
UNCHANGED = {"same", "read"}


@value
class Engine:
    folder: Path
    command: auto.PulumiCommand
    ports: Mapping[str, int]
    """Of the providers, by their package."""

    def stack(self, name: str, document: Mapping[str, Any], *, render: Render = small_charts) -> auto.Stack:
        """Made if it is not there; the same name again is the same stack, with what the document asks for now."""
        return self.stack_of(name, lambda: run(document, render=render, read=read))

    def stack_of(self, name: str, program: Callable[[], None]) -> auto.Stack:
        work = self.folder / "work" / name
        work.mkdir(parents=True, exist_ok=True)
        options = auto.LocalWorkspaceOptions(
            work_dir=str(work),
            pulumi_home=str(self.folder / "home"),
            env_vars=self._environment(),
            project_settings=auto.ProjectSettings(name=PROJECT, runtime="python", main=str(work)),
            pulumi_command=self.command,
        )
        return auto.create_or_select_stack(name, project_name=PROJECT, program=program, opts=options)

    def _environment(self) -> dict[str, str]:
        """Nothing is looked up, downloaded or asked for."""
        return {
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "",
            "PULUMI_DEBUG_PROVIDERS": ",".join(f"{package}:{port}" for package, port in self.ports.items()),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "NO_COLOR": "1",
        }


@contextmanager
def engine(program: Path, folder: Path, ports: Mapping[str, int]) -> Iterator[Engine]:
    """The library wants a folder with `bin/pulumi` in it; ours lies in a cache under its own name."""
    (folder / "tool" / "bin").mkdir(parents=True)
    (folder / "state").mkdir()
    (folder / "tool" / "bin" / "pulumi").symlink_to(program)
    before = os.environ.get("PULUMI_HOME")
    os.environ["PULUMI_HOME"] = str(folder / "home")  # of `pulumi version`, which the library runs before it is told
    try:
        command = auto.PulumiCommand(root=str(folder / "tool"), skip_version_check=True)
        yield Engine(folder=folder, command=command, ports=ports)
    finally:
        if before is None:
            del os.environ["PULUMI_HOME"]
        else:
            os.environ["PULUMI_HOME"] = before


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What the library leaves is found in the test that left it, and not in somebody else's."""
    yield
    gc.collect()


@value
class Clouds:
    engine: Engine
    aws: World
    kubernetes: World


@contextmanager
def stand_ins(program: Path, folder: Path) -> Iterator[Clouds]:
    """An engine with nothing behind it but two worlds in files; the folder must not exist."""
    folder.mkdir(parents=True)
    worlds = {name: World(folder / f"{name}.json") for name in ("aws", "kubernetes")}
    with ExitStack() as opened:
        ports = {name: opened.enter_context(serving(StandInProvider(world))) for name, world in worlds.items()}
        running = opened.enter_context(engine(program, folder, ports))
        yield Clouds(engine=running, aws=worlds["aws"], kubernetes=worlds["kubernetes"])


def up(stack: auto.Stack) -> dict[str, int]:
    """How many resources were treated how, without what stayed as it was."""
    changes = stack.up().summary.resource_changes or {}
    return {str(what): count for what, count in changes.items() if what not in UNCHANGED}


def state(stack: auto.Stack) -> list[Declared]:
    deployment = stack.export_stack().deployment
    return declared_in({"deployment": deployment})
