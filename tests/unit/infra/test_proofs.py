"""What a run tells of itself is what happened in it, the worst first, and leaves nothing out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from infra_proofs import Claim, Outcome, Proofs, sentence

SUPPORT = Path(__file__).parents[2] / "support"
MODULE = '''"""Zones may go.

More of it.
"""

import pytest

pytestmark = pytest.mark.only_a_cloud("that the sun shines")


@pytest.mark.parametrize("way", ["a", "b"])
def test_a_zone_s_loss_is_survived(way):
    assert way in "ab"


@pytest.mark.proves("one less is too few")
def test_one_less():
    """The mutant: the number is the least."""


def test_mutant_two_less():
    pass


def test_what_cannot_be_had_here():
    pytest.{ending}
'''


def proofs(*outcomes: Outcome) -> Proofs:
    made = Proofs()
    for number in range(len(outcomes)):
        made.expect(f"case {number}", Claim(subject="zones", file="test_zones.py", claim="it holds", is_mutant=False))
    for number, outcome in enumerate(outcomes):
        if outcome != "not run":
            made.record(f"case {number}", outcome, 0.5)
    return made


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (["held", "held"], "held"),
        (["held", "skipped"], "skipped"),
        (["skipped", "not run", "held"], "not run"),
        (["held", "failed", "not run"], "failed"),
    ],
)
def test_a_claim_is_as_good_as_its_worst_case(outcomes: list[Outcome], expected: Outcome) -> None:
    (claim,) = proofs(*outcomes).claims.values()
    assert claim.outcome == expected


def test_what_fails_after_it_held_has_failed() -> None:
    made = proofs("held")
    made.record("case 0", "failed", 0.1)
    (claim,) = made.claims.values()
    assert claim.outcome == "failed"


def test_a_run_that_left_something_out_is_not_whole() -> None:
    assert not proofs("held", "failed").is_incomplete
    assert proofs("held", "skipped").is_incomplete
    assert proofs("not run").is_incomplete


def test_a_name_becomes_a_sentence() -> None:
    assert sentence("test_a_cell_s_quota_is_kept[zone-a]") == "a cell's quota is kept"
    assert sentence("test_a_job_like_the_chart_s") == "a job like the chart's"


def run(folder: Path, ending: str, *, required: bool) -> subprocess.CompletedProcess[str]:
    """A session of its own, beside this one."""
    (folder / "test_zones.py").write_text(MODULE.replace("{ending}", ending))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    only_a_cloud(what): x\n    proves(claim): x\n")
    words = [sys.executable, "-m", "pytest", "-q", "-p", "infra_proofs", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(SUPPORT), "CELLWALLET_INFRA": "required" if required else ""}
    return subprocess.run(
        [*words, "--proofs-json", "told.json"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_run_tells_what_it_proved_and_what_only_a_cloud_could(tmp_path: Path) -> None:
    told = run(tmp_path, "importorskip('json')", required=True)
    assert told.returncode == 0, told.stdout
    for line in (
        "2 claims held, 2 mutants were found out; nothing failed or was left out",
        "Zones may go",
        "  held     a zone's loss is survived (2 cases)",
        "  mutant   one less is too few",
        "  mutant   mutant two less",
        "  - that the sun shines (test_zones.py)",
    ):
        assert line in told.stdout.splitlines(), told.stdout
    document = json.loads((tmp_path / "told.json").read_text())
    assert {one["claim"]: one["outcome"] for one in document["claims"]} == {
        "a zone's loss is survived": "held",
        "one less is too few": "held",
        "mutant two less": "held",
        "what cannot be had here": "held",
    }
    assert document["only_a_cloud"] == [{"what": "that the sun shines", "file": "test_zones.py"}]


@pytest.mark.parametrize(("required", "code"), [(False, 0), (True, 1)])
def test_a_skip_fails_a_run_that_must_be_whole(tmp_path: Path, *, required: bool, code: int) -> None:
    told = run(tmp_path, "skip('no tools')", required=required)
    assert told.returncode == code, told.stdout
    assert "  skipped  what cannot be had here" in told.stdout.splitlines()


def test_a_failure_is_told_as_one(tmp_path: Path) -> None:
    told = run(tmp_path, "fail('it broke')", required=False)
    assert told.returncode == 1
    assert "  FAILED   what cannot be had here" in told.stdout.splitlines()
