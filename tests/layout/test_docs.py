"""What the documents list by hand or by `make docs` is what the code has."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from cell.crash_points import MOVE_POINTS, SAGA_POINTS
from contract.reasons import MEANINGS, Reason

ROOT = Path(__file__).parents[2]


def renderer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["status_codes.md", "settings.md", "lives.md"])
def test_rendered_pages_are_up_to_date(name: str) -> None:
    assert (ROOT / "docs" / name).read_text() == renderer().pages()[name], "run `make docs`"


def test_every_reason_has_a_meaning_and_refusals_are_one_block() -> None:
    assert set(MEANINGS) == set(Reason)
    recorded = [MEANINGS[reason].is_recorded for reason in Reason]
    first = list(Reason).index(Reason.CURRENCY_MUST_MATCH_WALLET)
    assert not any(recorded[:first])
    assert all(recorded[first:-1]), "every 422 from currency_must_match_wallet down is recorded"


def test_links_between_documents_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_paths_that_documents_name_exist() -> None:
    """`cell/commit.py` in a text is a promise that the file is there."""
    pattern = re.compile(
        r"`((?:contract|cell|router|control_plane|cellwallet|loadtests|infra|tests|docs|helm)/[\w/.-]+\.(?:py|md|sql|yaml))"
    )
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in pattern.findall(page.read_text()):
            assert (ROOT / target).exists(), f"{page.name} names {target}"


def test_invariants_are_numbered_without_gaps() -> None:
    text = (ROOT / "docs" / "INVARIANTS.md").read_text()
    numbers = re.findall(r"^\| \*\*([A-Z])(\d+)\*\* \|", text, re.MULTILINE)
    for letter in {letter for letter, _ in numbers}:
        found = [int(number) for of, number in numbers if of == letter]
        assert found == list(range(1, len(found) + 1)), f"{letter}: {found}"


def test_invariants_that_the_audit_tells_stand_in_the_list() -> None:
    text = (ROOT / "docs" / "INVARIANTS.md").read_text()
    for module in (ROOT / "cell" / "store").glob("*audit*.py"):
        for number in re.findall(r'(?:find\(|INVARIANT = )"([A-Z]\d+)"', module.read_text()):
            assert f"| **{number}** |" in text, f"{module.name} tells of {number}"


def test_folders_that_the_invariants_name_exist() -> None:
    text = (ROOT / "docs" / "INVARIANTS.md").read_text()
    for folder in re.findall(r"`(\w[\w/]+/)`", text):
        assert (ROOT / folder).is_dir(), folder


def test_every_crash_point_is_told() -> None:
    for page, points in (("life_of_a_transfer.md", SAGA_POINTS), ("life_of_a_move.md", MOVE_POINTS)):
        text = (ROOT / "docs" / page).read_text()
        assert re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE) == list(points)
