"""Tools are built whole or not at all, once, and an end in the middle leaves no process and nothing half."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.tools.building import Built, Failed, OutOfTime, build
from infra.tools.cache import survey, work_folder
from infra.tools.go import find_toolchain
from infra.tools.pins import Family, Tool
from infra.tools.planning import Step, missing

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0
MAIN = 'package main\n\nvar Version = "unset"\n\nfunc main() { println(Version) }\n'
PARCEL = Family(
    folder="parcel",
    module="example.org/parcel",
    tools=(
        Tool(name="parcel", package="example.org/parcel/cmd/parcel"),
        Tool(name="letter", package="example.org/parcel/cmd/letter"),
    ),
    stamps=("main.Version={version}",),
)
WANTED = [(PARCEL, tool) for tool in PARCEL.tools]

needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")


class Unseen:
    """A display that nobody looks at, but us."""

    def __init__(self) -> None:
        self.compiled: list[tuple[str, int, int]] = []

    def downloading(self, step: Step, module: str) -> None:
        raise AssertionError(f"{step.tool.name} must not download {module}")

    def compiling(self, step: Step, *, done: int, of: int) -> None:
        self.compiled.append((step.tool.name, done, of))


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """A family whose upstream lies beside it, so that nothing comes over the network."""
    module = tmp_path / "modules" / "parcel"
    for tool in PARCEL.tools:
        folder = module / "upstream" / "cmd" / tool.name
        folder.mkdir(parents=True)
        (folder / "main.go").write_text(MAIN)
    (module / "upstream" / "go.mod").write_text("module example.org/parcel\n\ngo 1.24.0\n")
    (module / "go.sum").touch()
    (module / "go.mod").write_text(
        "module cellwallet.local/tools/parcel\n\ngo 1.24.0\n\nrequire example.org/parcel v1.2.3\n\n"
        "replace example.org/parcel => ./upstream\n"
    )
    return tmp_path / "modules"


def surveyed(modules: Path, root: Path) -> list[Step]:
    return survey(WANTED, toolchain=find_toolchain(os.environ), root=root, modules=modules)


def built(modules: Path, root: Path, *, seconds_max: float | None = None) -> list[Built | Failed | OutOfTime]:
    with work_folder(root, tell_waiting=pytest.fail) as work:
        steps = missing(surveyed(modules, root))
        return list(
            build(
                steps,
                work=work,
                environment=os.environ,
                display=Unseen(),
                seconds_max=seconds_max,
                modules=modules,
            )
        )


def said(program: Path) -> str:
    return subprocess.run([program], capture_output=True, text=True, check=True).stderr.strip()


@needs_go
def test_a_tool_is_built_stamped_and_found_again(modules: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    outcomes = built(modules, root)
    assert [type(outcome) for outcome in outcomes] == [Built, Built]
    for step in surveyed(modules, root):
        assert step.is_built
        assert said(step.file) == "v1.2.3"
        assert said(root / "bin" / step.tool.name) == "v1.2.3"
    assert built(modules, root) == [], "what is built is not built again"
    assert not (root / "work").exists()


@needs_go
def test_a_changed_pin_has_another_place(modules: Path, tmp_path: Path) -> None:
    root = tmp_path / "cache"
    built(modules, root)
    old = surveyed(modules, root)[0].file
    go_mod = modules / "parcel" / "go.mod"
    go_mod.write_text(go_mod.read_text().replace("v1.2.3", "v1.2.4"))
    assert [type(outcome) for outcome in built(modules, root)] == [Built, Built]
    assert said(surveyed(modules, root)[0].file) == "v1.2.4"
    assert said(old) == "v1.2.3", "another checkout may still run it"
    assert said(root / "bin" / "parcel") == "v1.2.4"


@needs_go
def test_what_cannot_be_built_is_told_and_stops_no_other(modules: Path, tmp_path: Path) -> None:
    broken = modules / "parcel" / "upstream" / "cmd" / "parcel" / "main.go"
    broken.write_text(MAIN.replace("println(Version)", "println(Letter)"))
    first, second = built(modules, tmp_path / "cache")
    assert isinstance(first, Failed)
    assert "undefined: Letter" in first.problem
    assert isinstance(second, Built)
    assert [step.is_built for step in surveyed(modules, tmp_path / "cache")] == [False, True]


@needs_go
def test_a_module_that_would_have_to_change_is_refused(modules: Path, tmp_path: Path) -> None:
    """`go.mod` and `go.sum` are what was reviewed: a build that needs others must not write them."""
    source = modules / "parcel" / "upstream" / "cmd" / "parcel" / "main.go"
    source.write_text(MAIN.replace("package main\n", 'package main\n\nimport _ "example.org/unknown"\n'))
    before = (modules / "parcel" / "go.mod").read_bytes()
    first, _ = built(modules, tmp_path / "cache")
    assert isinstance(first, Failed)
    assert "example.org/unknown" in first.problem
    assert (modules / "parcel" / "go.mod").read_bytes() == before


@pytest.fixture
def slow_go(tmp_path: Path) -> Path:
    """A folder with a `go` that answers what it is, and builds until it is ended, with a compiler that hears no one."""
    folder = tmp_path / "slow"
    folder.mkdir()
    program = folder / "go"
    program.write_text(
        f"#!/bin/sh\n"
        f'if [ "$1" = env ]; then echo go1.99.0; echo linux; echo amd64; exit; fi\n'
        f"sleep 600 &\n"
        f"echo $! >{folder}/compiler\n"
        f"echo go: downloading example.org/slow v1.0.0\n"
        f"wait\n"
    )
    program.chmod(0o755)
    return folder


@pytest.fixture
def building(slow_go: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`make infra-tools` in the middle of its first tool, in a cache where an earlier one was killed."""
    left = tmp_path / "cellwallet" / "infra-tools" / "work"
    left.mkdir(parents=True)
    (left / "etcd").write_text("half a binary")
    process = run_tools(slow_go, tmp_path, "etcd", "helm")
    wait_until_exists(slow_go / "compiler")
    yield process
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def run_tools(path: Path, cache: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PATH": f"{path}:/usr/bin:/bin", "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-m", "infra.tools", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def wait_until_exists(file: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists() or not file.read_text().endswith("\n"):
        assert time.monotonic() < deadline, f"{file.name} never came"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_the_compilers_and_leaves_nothing(
    building: subprocess.Popen[str], slow_go: Path, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    compiler = int((slow_go / "compiler").read_text())
    assert is_alive(compiler)
    building.send_signal(number)
    _, told = building.communicate(timeout=PATIENCE_S)
    assert building.returncode == exit_code, told
    assert not is_alive(compiler)
    assert [path.name for path in (tmp_path / "cellwallet" / "infra-tools").iterdir()] == ["lock"]
    assert "Traceback" not in told


def test_a_second_build_waits_for_the_first(building: subprocess.Popen[str], slow_go: Path, tmp_path: Path) -> None:
    second = run_tools(slow_go, tmp_path, "etcd")
    assert second.stderr is not None
    assert "another build works in the cache" in second.stderr.readline()
    assert building.poll() is None
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=PATIENCE_S)
    assert (tmp_path / "cellwallet" / "infra-tools" / "work").exists(), "it took nothing from the first"


def test_the_time_ends_a_build_that_says_nothing_and_the_rest_is_told(slow_go: Path, tmp_path: Path) -> None:
    process = run_tools(slow_go, tmp_path, "etcd", "helm", "--minutes", "0.1")
    _, told = process.communicate(timeout=PATIENCE_S * 2)
    assert process.returncode == 3, told
    assert told.count("not built, the time is over") == 2
    assert not is_alive(int((slow_go / "compiler").read_text()))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["etcd"], "go must be installed and on the PATH"),
        (["--list"], "go must be installed and on the PATH"),
    ],
)
def test_without_go_there_is_one_sentence(tmp_path: Path, words: list[str], message: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PATH": str(empty), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "infra.tools", *words]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_an_unknown_tool_is_a_usage_error(slow_go: Path, tmp_path: Path) -> None:
    process = run_tools(slow_go, tmp_path, "kubelet")
    _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "no such tool: kubelet" in told
