"""What must hold over all cells together: one active owner per unit, epochs, the directory, money that sums to zero.

Pure: the cells' audits and units and the directory come in as values, findings go out. A cell's own invariants
(L1-L9) are the cell's to check; its findings are passed on here, and its totals are added up once more.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict

from contract.directory import DirectoryDocument
from contract.fleet import CellUnits, UnitRun
from contract.slots import ISOLATED_UNIT_FIRST, SLOTS
from contract.values import value


class _Read(BaseModel):
    # A newer cell may tell more.
    model_config = ConfigDict(extra="ignore", frozen=True)


class CellFinding(_Read):
    """One broken invariant, as the cell names it."""

    invariant: str
    wallet_id: str | None = None
    seq: int | None = None
    field: str | None = None
    expected: Any = None
    found: Any = None


class CurrencyTotals(_Read):
    """In one snapshot of one cell: the sum over wallets, and over each system account."""

    wallets: int
    accounts: dict[str, int] = {}
    on_its_way: int = 0
    """The most that may be between this cell and others: open transfers, and legs that have yet to follow."""


class ClosedCell(_Read):
    """What the system accounts of a cell held when it was retired: the books of the fleet count it for ever."""

    cell: str
    accounts: dict[str, dict[str, int]] = {}

    @property
    def totals(self) -> dict[str, CurrencyTotals]:
        return {currency: CurrencyTotals(wallets=0, accounts=accounts) for currency, accounts in self.accounts.items()}


class CellAudit(_Read):
    """The answer of `POST /admin/audit`."""

    cell: str
    clean: bool
    checked: dict[str, int]
    totals: dict[str, CurrencyTotals] = {}
    findings: tuple[CellFinding, ...] = ()
    duration_s: float


@value
class Finding:
    check: str
    """An invariant's number (L1...), `ownership`, `epoch`, `directory`, `totals` or `reachable`."""
    subject: str
    expected: str
    found: str
    cell: str | None = None


Claim = tuple[str, UnitRun]
"""What a cell says of a unit."""
Verdict = tuple[str, str, str]
"""check, expected, found."""
UnitFaults = dict[int, tuple[Verdict, ...]]
"""Unit to what is wrong with it."""

MIGRATED = "migrated"
"""The account that carries moved wallets' sums between cells; zero over the fleet when no move is under way."""


IN_TRANSIT = "in_transit"
"""The account of money between two cells; over the fleet no more than what the cells know to be on its way."""


def ownership_findings(
    units: Iterable[CellUnits], directory: DirectoryDocument | None, *, silent_cells: frozenset[str] = frozenset()
) -> list[Finding]:
    """What is wrong with the ownership of units, a line per run of units."""
    return findings_of(unit_faults(units, directory, silent_cells=silent_cells))


def unit_faults(
    units: Iterable[CellUnits], directory: DirectoryDocument | None, *, silent_cells: frozenset[str] = frozenset()
) -> UnitFaults:
    """Whether every slot, and every isolated unit that anyone knows, has exactly one active owner and all agree.

    A unit that the directory names as moving may have no active owner for a moment; it never has two. One that its
    wallet has left, to go back into its slot, has none for ever. The units of
    a cell that did not answer cannot be judged: that it did not is the finding.
    """
    claims = _claims(units)
    moving = frozenset(directory.moving) if directory is not None else frozenset()
    known = sorted({*range(SLOTS), *claims, *(directory.unit_cells if directory is not None else ())})
    cells = {} if directory is None else _directory_cells(directory)
    faults: UnitFaults = {}
    for unit in known:
        if unit not in claims and cells.get(unit) in silent_cells:
            continue
        if directory is not None and unit not in cells and _is_left(unit, claims.get(unit, [])):
            continue
        judged = _judge_unit(claims.get(unit, []), is_moving=unit in moving)
        if not judged and directory is not None and unit not in moving:
            judged = _compare_directory(claims[unit], cells.get(unit), directory.epochs.get(unit, 1))
        if judged:
            faults[unit] = tuple(judged)
    return faults


def lasting(earlier: UnitFaults, later: UnitFaults) -> UnitFaults:
    """What the later look says of the units that were wrong in the earlier one too: a move shows each fault once."""
    return {unit: verdicts for unit, verdicts in later.items() if unit in earlier}


def findings_of(faults: UnitFaults) -> list[Finding]:
    return list(_in_runs((unit, *verdict) for unit, verdicts in faults.items() for verdict in verdicts))


def totals_findings(audits: Iterable[CellAudit]) -> list[Finding]:
    """Money in wallets and system accounts sums to zero in each cell, and so over the fleet."""
    return [
        Finding(check="totals", cell=audit.cell, subject=currency, expected="0", found=str(total))
        for audit in audits
        for currency, total in sorted(_sums(audit).items())
        if total != 0
    ]


def migrated_findings(audits: Iterable[CellAudit | ClosedCell]) -> list[Finding]:
    """What finished moves took out of one cell they brought into another. Only meant while no unit is moving."""
    sums: dict[str, int] = defaultdict(int)
    for audit in audits:
        for currency, totals in audit.totals.items():
            sums[currency] += totals.accounts.get(MIGRATED, 0)
    return [
        Finding(
            check="totals", subject=f"{currency}, account {MIGRATED} over all cells", expected="0", found=str(total)
        )
        for currency, total in sorted(sums.items())
        if total != 0
    ]


def in_transit_findings(audits: Iterable[CellAudit | ClosedCell]) -> list[Finding]:
    """What left one cell arrived in another or is known to be open; nothing is open, nothing is between cells.

    Only meant with an answer of every cell, and with those that were retired. The cells' snapshots are not of one
    instant, so what has just been sent or received may show once; what is lost shows in every look.
    """
    sums: dict[str, int] = defaultdict(int)
    open_sums: dict[str, int] = defaultdict(int)
    for audit in audits:
        for currency, totals in audit.totals.items():
            sums[currency] += totals.accounts.get(IN_TRANSIT, 0)
            open_sums[currency] += totals.on_its_way
    return [
        Finding(
            check="totals",
            subject=f"{currency}, account {IN_TRANSIT} over all cells",
            expected=f"within {open_sums[currency]} of 0" if open_sums[currency] else "0",
            found=str(total),
        )
        for currency, total in sorted(sums.items())
        if abs(total) > open_sums[currency]
    ]


def cell_findings(audit: CellAudit) -> list[Finding]:
    """What the cell itself found, and whether its verdict fits."""
    findings = [
        Finding(
            check=finding.invariant,
            cell=audit.cell,
            subject=_subject(finding),
            expected=_text(finding.expected),
            found=_text(finding.found),
        )
        for finding in audit.findings
    ]
    if not findings and not audit.clean:
        findings = [
            Finding(
                check="verdict", cell=audit.cell, subject="clean", expected="true", found="false, without a finding"
            )
        ]
    return findings


@value
class FleetTotal:
    currency: str
    wallets: int
    accounts: int

    @property
    def total(self) -> int:
        return self.wallets + self.accounts


def fleet_totals(audits: Iterable[CellAudit | ClosedCell]) -> list[FleetTotal]:
    wallets: dict[str, int] = defaultdict(int)
    accounts: dict[str, int] = defaultdict(int)
    for audit in audits:
        for currency, totals in audit.totals.items():
            wallets[currency] += totals.wallets
            accounts[currency] += sum(totals.accounts.values())
    return [
        FleetTotal(currency=currency, wallets=wallets[currency], accounts=accounts[currency])
        for currency in sorted(wallets)
    ]


def active_units(units: CellUnits) -> int:
    return sum(run.last - run.first + 1 for run in units.units if run.state == "active")


def _claims(units: Iterable[CellUnits]) -> dict[int, list[Claim]]:
    """What each cell says of each unit."""
    claims: dict[int, list[Claim]] = defaultdict(list)
    for cell in sorted(units, key=lambda one: one.cell):
        for run in cell.units:
            for unit in range(run.first, run.last + 1):
                claims[unit].append((cell.cell, run))
    return claims


def _is_left(unit: int, claims: list[Claim]) -> bool:
    """A wallet that went back to its slot has left its isolated unit for ever; cells only remember it as moved."""
    return unit >= ISOLATED_UNIT_FIRST and all(run.state == "moved" for _, run in claims)


def _judge_unit(claims: list[Claim], *, is_moving: bool) -> list[Verdict]:
    active = [(cell, run) for cell, run in claims if run.state == "active"]
    if len(active) > 1:
        return [("ownership", "one active owner", " and ".join(f"{cell}@{run.epoch}" for cell, run in active))]
    if not active:
        others = ", ".join(f"{cell} {run.state}@{run.epoch}" for cell, run in claims) or "none"
        return [] if is_moving and claims else [("ownership", "one active owner", others)]
    ((owner, owned),) = active
    higher = [(cell, run) for cell, run in claims if run.epoch > owned.epoch and not is_moving]
    return [
        ("epoch", f"at most {owned.epoch}, of active owner {owner}", f"{cell} {run.state}@{run.epoch}")
        for cell, run in higher
    ]


def _compare_directory(claims: list[Claim], directory_cell: str | None, directory_epoch: int) -> list[Verdict]:
    ((owner, owned),) = [(cell, run) for cell, run in claims if run.state == "active"]
    if directory_cell != owner:
        return [("directory", f"{owner}@{owned.epoch}", f"{directory_cell or 'no cell'}@{directory_epoch}")]
    if directory_epoch != owned.epoch:
        return [("epoch", f"{owner}@{owned.epoch}", f"directory {directory_cell}@{directory_epoch}")]
    return []


def _directory_cells(directory: DirectoryDocument) -> dict[int, str]:
    return {**dict(enumerate(directory.slot_cells())), **directory.unit_cells}


def _in_runs(found: Iterable[tuple[int, str, str, str]]) -> Iterator[Finding]:
    """One finding per run of consecutive units with the same verdict: a lost cell is one line, not five thousand."""
    ordered = sorted(found, key=lambda item: (item[1:], item[0]))
    numbered = ((item[0] - place, item) for place, item in enumerate(ordered))
    for (_, (check, expected, seen)), group in itertools.groupby(numbered, key=lambda pair: (pair[0], pair[1][1:])):
        units = [item[0] for _, item in group]
        yield Finding(check=check, subject=_units_text(units[0], units[-1]), expected=expected, found=seen)


def _units_text(first: int, last: int) -> str:
    return f"unit {first}" if first == last else f"units {first}-{last}"


def _sums(audit: CellAudit) -> dict[str, int]:
    return {currency: totals.wallets + sum(totals.accounts.values()) for currency, totals in audit.totals.items()}


def _subject(finding: CellFinding) -> str:
    parts = (
        ("wallet", finding.wallet_id),
        ("entry", finding.seq),
        ("field", finding.field),
    )
    return ", ".join(f"{name} {part}" for name, part in parts if part is not None) or "cell"


def _text(member: Any) -> str:
    return member if isinstance(member, str) else json.dumps(member, ensure_ascii=False)
