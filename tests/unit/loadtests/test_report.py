"""What is made of a run's document: the page, its pictures, and the comparison with another run."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import report
from loadtests.agreement import DIFFERENCE_MAX, Compared, RunsMustCompareError, compared
from loadtests.figures import FORM, Check, Figure, Loop, Round, document_of_figures
from loadtests.gallery import OTHER, gallery, share_of_goal
from loadtests.joining import joined
from loadtests.page import render
from loadtests.pictures import draw_pictures
from loadtests.targets import GOALS, judge, ratios

PNG = b"\x89PNG\r\n"
PASSED = Check(name="conservation", has_passed=True)


def figure(name: str, *values: float, loop: Loop = "closed", check: Check = PASSED) -> Figure:
    latency_ms = {"p50": 2.0, "p99": 30.0} if loop == "open" else {}
    rounds = tuple(Round(value=one, checks=(check,), latency_ms=latency_ms) for one in values)
    return Figure(id=name, title=name, unit="commands/s", loop=loop, rounds=rounds)


def document(*figures: Figure, **changed: Any) -> dict[str, Any]:
    by_id = {one.id: one for one in figures}
    return {
        "form": FORM,
        "began_at": "2027-01-15T08:00:00+00:00",
        "duration_s": 60,
        "quick": False,
        "machine": {"cpu": "Example", "cores": 2, "memory_mb": 8_192, "kernel": "6.1"},
        "versions": {"python": "3.11", "python_build": "plain", "postgresql": "18.4", "packages": {}},
        "revision": {"revision": None, "has_local_changes": False},
        "settings": {
            "api_processes": 1,
            "lanes_per_process": 2,
            "wallets": 10,
            "rounds": 3,
            "peak_s": 1.0,
            "confirm_s": 1.0,
            "postgresql": {},
        },
        "noise": {},
        "figures": document_of_figures(figures),
        "ratios": ratios(by_id),
        "targets": judge(by_id, is_sound=True),
        "checks": [],
        "passed": True,
        **changed,
    }


def hot_run(hot: float = 9.0) -> dict[str, Any]:
    return document(
        figure("write.hot.peak", hot, hot),
        figure("write.uniform.peak", 10.0),
        figure("sql_ledger.hot.8", 1.0),
        figure("sql_ledger.hot.32", 0.5),
        figure("interactive.hot.8", 2.0),
        figure("read.balance", 100.0),
    )


def test_every_figure_is_in_a_picture_next_to_what_it_is_compared_with() -> None:
    assert gallery(hot_run()) == {
        "P2": ("write.hot.peak", "write.uniform.peak", "sql_ledger.hot.8", "sql_ledger.hot.32", "interactive.hot.8"),
        OTHER: ("read.balance",),
    }


def test_a_target_that_was_not_run_has_no_picture() -> None:
    assert gallery(document(figure("write.hot.peak", 1.0))) == {OTHER: ("write.hot.peak",)}
    assert gallery(document()) == {}


def test_a_target_that_nobody_knows_any_more_keeps_its_goals() -> None:
    old = document(figure("a.b", 1.0), targets={"P0": {"reached": True, "parts": [part(5, 4, "at_least")]}})
    assert gallery(old) == {"P0": (), OTHER: ("a.b",)}


def test_what_one_run_did_not_measure_comes_from_another(tmp_path: Path) -> None:
    hot = hot_run() | {"absent": ["P11 was not measured: no time"]}
    starts = document(
        figure("start.api", 1.0), figure("start.up.fresh", 8.0), figure("start.up.again", 6.0), began_at="another day"
    )
    page = render(hot, starts)
    assert "## The run of P2\n" in page
    assert "## The run of P11\n" in page
    assert "another day" in page
    assert "P11 was not measured" not in page
    assert [line for line in page.splitlines() if line.startswith("| P11 |")]
    assert {"P2", "P11"} <= set(draw_pictures(joined(hot, starts), tmp_path))


def test_a_target_of_two_runs_is_that_of_the_first() -> None:
    first, second = hot_run(9.0), hot_run(3.0)
    both = joined(first, second)
    assert both["targets"] == first["targets"]
    assert both["figures"] == first["figures"]


def test_a_target_is_shown_with_the_figures_of_its_own_run() -> None:
    """Not with those of another day, which its ratio is not of."""
    standby = document(
        figure("write.uniform.sustained", 4.0, loop="open"), figure("standby.uniform.sustained", 2.0, loop="open")
    )
    first = document(
        figure("write.uniform.sustained", 9.0, loop="open"), targets={"P1": {"reached": True, "parts": []}}
    )
    both = joined(first, standby | {"targets": {"P7": {"reached": True, "parts": []}}})
    assert both["figures"]["write.uniform.sustained"]["median"] == 9.0
    assert both["figures"]["write.uniform.sustained of P7"]["median"] == 4.0
    assert gallery(both) == {
        "P1": ("write.uniform.sustained",),
        "P7": ("standby.uniform.sustained", "write.uniform.sustained of P7"),
    }


def part(measured: float, target: float, sense: str) -> dict[str, Any]:
    return {
        "name": "any",
        "value": measured,
        "unit": "x",
        "sense": sense,
        "target": target,
        "reached": True,
        "then": target,
        "then_reached": False,
    }


@pytest.mark.parametrize(
    ("measured", "target", "sense", "share"),
    [(5, 10, "at_least", 0.5), (20, 10, "at_least", 2), (5, 10, "at_most", 2), (20, 10, "at_most", 0.5)],
)
def test_the_share_of_a_goal_is_more_when_it_is_better(
    measured: float, target: float, sense: str, share: float
) -> None:
    assert share_of_goal(part(measured, target, sense)) == share


def test_a_figure_that_could_not_be_measured_has_no_share() -> None:
    assert share_of_goal(part(0, 10, "at_least")) == share_of_goal(part(0, 10, "at_most")) == 0


def every_target() -> dict[str, Any]:
    names = {need for goals in GOALS.values() for goal in goals for need in goal.needs}
    loops: dict[str, Loop] = {goal.figure: "open" for goals in GOALS.values() for goal in goals if goal.latency}
    return document(*(figure(name, 3.0, 1.0, 2.0, loop=loops.get(name, "closed")) for name in sorted(names)))


@pytest.mark.parametrize(
    "run",
    [
        hot_run(),
        every_target(),
        document(figure("odd", 0.0, loop="open")),
        document(figure("broken", 1.0, check=Check(name="conservation", has_passed=False))),
        document(figure("a", 1.0), targets={"P0": {"reached": True, "parts": [part(5, 4, "at_least")]}}),
    ],
    ids=["some", "all", "nothing held", "invalid", "of another revision"],
)
def test_any_run_is_drawn(run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "P77.png").write_bytes(b"of an earlier run")
    files = draw_pictures(run, tmp_path, is_small=True)
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    assert set(files) == set(gallery(run)) >= set(run["targets"])
    assert all(file.read_bytes().startswith(PNG) for file in files.values())
    assert all(file.stat().st_size < 60_000 for file in files.values()), "they are committed"


def test_the_page_shows_each_picture_and_each_part_of_a_target(tmp_path: Path) -> None:
    run = hot_run()
    (tmp_path / "run.json").write_text(json.dumps(run))
    page = tmp_path / "PAGE.md"
    assert report.main(["--run", str(tmp_path / "run.json"), "--out", str(page)]) == 0
    text = page.read_text()
    assert "| P2 | over SQL ledger's hot account | 9 x | ≥ 8 | ≥ 20 | 1.12 | yes |" in text
    assert "| P1 |" not in text
    shown = {line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")}
    assert shown == {"performance/P2.png", "performance/other.png"}
    assert all((tmp_path / file).exists() for file in shown)


def test_the_page_says_what_was_not_measured_and_why() -> None:
    page = render(document(figure("write.hot.peak", 1.0), absent=["no tigerbeetle on PATH"]))
    assert "Not measured: no tigerbeetle on PATH\n" in page


def test_the_page_holds_a_run_against_a_second_one_of_the_same(tmp_path: Path) -> None:
    for name, run in (("run", hot_run()), ("other", hot_run(12.0)), ("apples", document(figure("a", 1.0)))):
        (tmp_path / f"{name}.json").write_text(json.dumps(run))
    page = tmp_path / "PAGE.md"

    def rendered(again: str) -> int:
        run, other = str(tmp_path / "run.json"), str(tmp_path / f"{again}.json")
        return report.main(["--run", run, "--again", other, "--out", str(page)])

    assert rendered("other") == 0
    assert "| `write.hot.peak / write.uniform.peak` | 0.9 | 1.2 | 33.3% | **no** |" in page.read_text()
    assert rendered("run") == 0
    assert "| `write.hot.peak / write.uniform.peak` | 0.9 | 0.9 | 0.0% | yes |" in page.read_text()
    before = page.read_text()
    assert rendered("apples") == 2
    assert page.read_text() == before, "no half result"


@pytest.mark.parametrize(
    ("ratio", "other", "agrees"),
    [(1.0, 1.15, True), (1.15, 1.0, True), (1.0, 1.151, False), (1.151, 1.0, False), (0, 0, True), (0, 0.1, False)],
)
def test_runs_agree_within_their_bound_whichever_is_first(ratio: float, other: float, *, agrees: bool) -> None:
    assert Compared(name="any", ratio=ratio, other=other).agrees is agrees
    assert DIFFERENCE_MAX == 0.15


def test_runs_without_a_common_ratio_or_with_a_failed_check_cannot_agree() -> None:
    for other in (document(figure("a", 1.0)), hot_run() | {"form": FORM + 1}, hot_run() | {"passed": False}):
        with pytest.raises(RunsMustCompareError):
            compared(hot_run(), other)


def told(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Any, other: Any) -> tuple[int, str]:
    for name, content in (("run.json", run), ("other.json", other)):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    try:
        code = report.main(["--run", str(tmp_path / "run.json"), "--against", str(tmp_path / "other.json")])
    except SystemExit as ended:
        code = int(str(ended.code))
    said = capsys.readouterr()
    return code, said.out + said.err


def test_two_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(tmp_path, capsys, hot_run(), hot_run(9.5))
    assert (code, "0 of 2 ratios differ" in text) == (0, True), text
    code, text = told(tmp_path, capsys, hot_run(), hot_run(12.0))
    assert (code, "2 of 2 ratios differ" in text) == (1, True), text
    assert "DIFFERS  write.hot.peak / write.uniform.peak: 0.9 and 1.2, 33.3% apart" in text
    more = document_of_figures([figure("read.at.long", 2.0), figure("read.at.short", 2.0)])
    code, text = told(tmp_path, capsys, hot_run(), hot_run() | {"figures": {**hot_run()["figures"], **more}})
    assert (code, "in one   read.at.long / read.at.short: not compared" in text) == (0, True), text


@pytest.mark.parametrize("other", ["", "[]", "{}", "no json"])
def test_what_is_no_run_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str) -> None:
    code, text = told(tmp_path, capsys, hot_run(), other)
    assert (code, "other.json" in text) == (2, True), text


def test_a_document_may_be_compressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = gzip.compress(json.dumps(hot_run()).encode())
    for name, content in (("run", whole), ("half", whole[:-20]), ("none", b"plain")):
        (tmp_path / f"{name}.json.gz").write_bytes(content)
    assert report.main(["--run", str(tmp_path / "run.json.gz"), "--out", str(tmp_path / "PAGE.md")]) == 0
    for name in ("half", "none"):
        with pytest.raises(SystemExit, match="2"):
            report.main(["--run", str(tmp_path / f"{name}.json.gz")])
        assert f"{name}.json.gz" in capsys.readouterr().err


def test_a_run_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        report.main(["--run", str(tmp_path / "none.json")])
    assert "none.json" in capsys.readouterr().err
