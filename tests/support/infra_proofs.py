"""What a run of tests proved, told at its end: a plugin of pytest, switched on by `-p infra_proofs`.

Nothing is listed by hand. A claim is the name of a test, as a sentence, or what its mark `proves` says; it stands under
the first sentence of its module. A test whose docstring begins with "The mutant", or whose name says so, shows that a
claim can fail. What no run here can prove is told by the marks `only_a_cloud` of the tests that come nearest to it.

Where the tools are required (CELLWALLET_INFRA=required) a test that was skipped fails the run.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

Outcome = Literal["held", "failed", "skipped", "not run"]
WORST_FIRST: tuple[Outcome, ...] = ("failed", "not run", "skipped", "held")
MUTANT, MUTANT_NAME = "The mutant", "test_mutant_"
IS_REQUIRED = os.environ.get("CELLWALLET_INFRA") == "required"


@dataclass
class Claim:
    """One test, with all its cases."""

    subject: str
    """What its module is about."""
    file: str
    claim: str
    is_mutant: bool
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Of each case."""
    seconds: float = 0.0

    @property
    def outcome(self) -> Outcome:
        found = set(self.outcomes.values())
        return next(outcome for outcome in WORST_FIRST if outcome in found)


@dataclass
class Proofs:
    claims: dict[tuple[str, str], Claim] = field(default_factory=dict)
    only_a_cloud: dict[str, str] = field(default_factory=dict)
    """What no run here can prove → the file that says so."""
    left_out: list[str] = field(default_factory=list)
    """Whole modules that were not collected, and why."""

    def expect(self, case: str, claim: Claim) -> None:
        kept = self.claims.setdefault((claim.file, claim.claim), claim)
        kept.outcomes[case] = "not run"

    def record(self, case: str, outcome: Outcome, seconds: float) -> None:
        """A test is set up, run and taken down; the worst of the three is its outcome."""
        for claim in self.claims.values():
            if case in claim.outcomes:
                before = claim.outcomes[case]
                is_first = before == "not run"
                claim.outcomes[case] = outcome if is_first else min(before, outcome, key=WORST_FIRST.index)
                claim.seconds += seconds

    def of(self, outcome: Outcome, *, is_mutant: bool) -> int:
        return sum(one.outcome == outcome and one.is_mutant == is_mutant for one in self.claims.values())

    @property
    def is_incomplete(self) -> bool:
        return bool(self.left_out) or any(one.outcome in {"skipped", "not run"} for one in self.claims.values())

    def lines(self) -> Iterator[str]:
        yield self._heading()
        for subject, claims in _by_subject(self.claims.values()):
            yield ""
            yield subject
            for one in claims:
                cases = f" ({len(one.outcomes)} cases)" if len(one.outcomes) > 1 else ""
                yield f"  {_word(one):<9}{one.claim}{cases}"
        for reason in self.left_out:
            yield f"  left out {reason}"
        yield ""
        yield "What only a cloud could prove"
        for what, file in sorted(self.only_a_cloud.items()):
            yield f"  - {what} ({file})"

    def _heading(self) -> str:
        held, mutants = (self.of("held", is_mutant=is_mutant) for is_mutant in (False, True))
        others = ", ".join(
            f"{count} {outcome}"
            for outcome in WORST_FIRST[:-1]
            if (count := sum(self.of(outcome, is_mutant=is_mutant) for is_mutant in (False, True)))
        )
        return f"{held} claims held, {mutants} mutants were found out; {others or 'nothing failed or was left out'}"

    def document(self) -> dict[str, Any]:
        return {
            "form": 1,
            "claims": [{**asdict(one), "outcome": one.outcome} for one in self.claims.values()],
            "left_out": self.left_out,
            "only_a_cloud": [{"what": what, "file": file} for what, file in sorted(self.only_a_cloud.items())],
        }


def _word(one: Claim) -> str:
    """A mutant holds if the test that it stands for would have failed."""
    if one.outcome == "held":
        return "mutant" if one.is_mutant else "held"
    return one.outcome.upper() if one.outcome == "failed" else one.outcome


def _by_subject(claims: Iterable[Claim]) -> list[tuple[str, list[Claim]]]:
    """In the order of files, and of names below: a run is shuffled, what it tells is not."""
    ordered = sorted(claims, key=lambda one: (one.file, one.is_mutant, one.claim))
    found: dict[str, list[Claim]] = {}
    for one in ordered:
        found.setdefault(one.subject, []).append(one)
    return list(found.items())


def sentence(name: str) -> str:
    """`test_a_cell_s_quota_is_kept[3]` → "a cell's quota is kept"."""
    words = name.partition("[")[0].removeprefix("test_")
    return re.sub(r"_s(?=_|$)", "'s", words).replace("_", " ")


def claim_of(item: pytest.Function, root: Path) -> Claim:
    said = item.get_closest_marker("proves")
    about = (item.module.__doc__ or item.module.__name__).strip()
    return Claim(
        subject=about.partition("\n")[0].rstrip(".,:;"),
        file=str(item.path.relative_to(root)),
        claim=str(said.args[0]) if said else sentence(item.name),
        is_mutant=item.name.startswith(MUTANT_NAME) or (item.function.__doc__ or "").startswith(MUTANT),
    )


class Plugin:
    def __init__(self, file: Path | None) -> None:
        self.proofs = Proofs()
        self._file = file

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        root = session.config.rootpath
        for item in session.items:
            if isinstance(item, pytest.Function):
                self.proofs.expect(item.nodeid, claim_of(item, root))
            for mark in item.iter_markers("only_a_cloud"):
                self.proofs.only_a_cloud[str(mark.args[0])] = str(item.path.relative_to(root))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped or report.failed:
            self.proofs.left_out.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcomes: dict[str, Outcome] = {"passed": "held", "failed": "failed", "skipped": "skipped"}
        self.proofs.record(report.nodeid, outcomes[report.outcome], report.duration)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._file is not None:
            self._file.write_text(json.dumps(self.proofs.document(), indent=1) + "\n")
        if IS_REQUIRED and self.proofs.is_incomplete and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.section("what this run proved")
        for line in self.proofs.lines():
            terminalreporter.write_line(line)
        if IS_REQUIRED and self.proofs.is_incomplete:
            terminalreporter.write_line("nothing may be left out of a run that is required to be whole", red=True)


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else "no reason was given"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--proofs-json", type=Path, help="Write what the run proved into this file, too.")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(config.getoption("--proofs-json")), "infra-proofs")
