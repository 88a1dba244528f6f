"""The rules of the house that no linter knows: purity, budgets, names, READMEs, one place for each list."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contract", "lean_http", "cell", "router", "control_plane", "cellwallet", "infra")
PURE = (
    *("contract", "cell/ledger", "cell/events", "router/routing"),
    *("control_plane/fleet", "control_plane/moves", "control_plane/rollouts", "control_plane/evacuations"),
    "control_plane/installations",
)
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager", "handler", "service", "core"}
TOP = (
    *("README.md", "Makefile", "pyproject.toml", "LICENSE", "CHANGELOG.md", ".ci/run"),
    *("Dockerfile", ".dockerignore", "compose.yaml"),
    *("contract", "lean_http", "cell", "router", "control_plane", "cellwallet", "infra", "helm", "loadtests"),
    *("tests", "docs"),
)
HEADINGS = ("## What it is", "## What it never does", "## Read in this order", "## How to test it")

LONG_FUNCTIONS = {
    "history_routes": 130,  # a list of routes, each short
    "admin_application": 75,  # the same
}
"""The ratchet: functions that may be longer, and how long; may only shrink."""


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", TOP)
def test_the_top_level_is_the_map(name: str) -> None:
    assert (ROOT / name).exists()


@pytest.mark.parametrize("path", modules(*PURE), ids=named)
def test_pure_packages_have_no_async_clock_or_chance(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith), named(path)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            forbidden = {"asyncio", "time", "random", "secrets", "os", "logging", "socket", "structlog"}
            assert not {name.partition(".")[0] for name in names} & forbidden, named(path)
        if isinstance(node, ast.Attribute):
            assert node.attr not in {"now", "utcnow", "today", "uuid4", "uuid1"} or named(path).startswith(
                "control_plane/fleet"
            ), f"{named(path)} reads a clock or throws dice: {node.attr}"


@pytest.mark.parametrize("path", modules(*PACKAGES, "loadtests"), ids=named)
def test_modules_say_what_they_own_and_stay_small(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    if "migrations" not in path.parts and text.strip():
        assert ast.get_docstring(tree), f"{named(path)} has no header"
    assert len(text.splitlines()) <= MODULE_LINES_MAX, f"{named(path)} is too long"
    assert path.stem not in BANNED_NAMES, f"{named(path)} is named for nothing"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONG_FUNCTIONS.get(node.name, FUNCTION_LINES_MAX), f"{named(path)}:{node.name} is too long"


@pytest.mark.parametrize("folder", [*PACKAGES, "loadtests", "helm"])
def test_folders_say_what_they_promise(folder: str) -> None:
    text = (ROOT / folder / "README.md").read_text()
    assert len(text.splitlines()) <= 40
    positions = [text.find(heading) for heading in HEADINGS]
    assert -1 not in positions, f"{folder}/README.md lacks {HEADINGS[positions.index(-1)]}"
    assert positions == sorted(positions)


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=named)
def test_only_the_entries_of_services_read_the_environment(path: Path) -> None:
    if path.name in {"__main__.py", "settings.py"} or path.parts[-2:-1] == ("local",) or "cellwallet" in path.parts:
        return
    assert not re.search(r"os\.environ|os\.getenv", path.read_text()), named(path)


@pytest.mark.parametrize("path", modules("cell/api", "cell/ledger", "router", "control_plane/api"), ids=named)
def test_sql_stands_in_stores_only(path: Path) -> None:
    assert not re.search(r"\b(SELECT|INSERT INTO|UPDATE) [a-z_]+ (FROM|SET|\()", path.read_text()), named(path)


def test_no_file_speaks_of_a_machine_or_leaves_work_behind() -> None:
    for path in [*modules(*PACKAGES, "loadtests"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]:
        text = path.read_text()
        for word in ("TO" + "DO", "FIX" + "ME", "/work/" + "main"):
            assert word not in text, f"{named(path)} holds {word!r}"
        # In quotes it is ISO 4217's code for "no currency".
        assert not re.search("""(?<!["`])XX""" + "X", text), f"{named(path)} leaves work behind"
