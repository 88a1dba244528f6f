"""What must hold: at every commit, at every instant between, and when everything has healed."""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from history.checker import check as check_history
from history.model import CellTotal, Ledger, StoredEntry, StoredWallet

from cell.api.translate import instant_text
from cell.ledger.invariants import AuditedEntry, AuditedWallet, LogAudit
from cell.ledger.model import Wallet
from contract.ids import WalletId
from contract.slots import Unit
from router.live_map import LiveMap
from simulation.cell import SimulatedCell
from simulation.fleet import SimulatedFleet, wallet_of
from simulation.vendors import CURRENCY, Sent

OWNING = frozenset({"active", "fenced"})
"""States in which a cell takes writes, or will again."""


class Watch:
    """What is looked at while the fleet runs; what it finds is written down once."""

    def __init__(self) -> None:
        self.fleet: SimulatedFleet | None = None
        self.findings: list[str] = []
        self._owned_at: dict[Unit, tuple[int, str]] = {}
        self._routed_at: dict[str, tuple[LiveMap, int, dict[Unit, int]]] = {}

    def committed(self) -> None:
        """I1 and I5 of the cells, after each commit of any of them."""
        if self.fleet is None:
            return
        for unit in self.fleet.units:
            owners = [
                (cell.name, row.epoch)
                for cell in self.fleet.cells.values()
                if (row := cell.disk.units.get(unit)) is not None and row.state in OWNING
            ]
            if len(owners) > 1:
                self._find(f"I1: unit {unit} has two owners: {owners}")
            for name, epoch in owners:
                before = self._owned_at.get(unit, (0, ""))
                if epoch < before[0] or (epoch == before[0] and name != before[1]):
                    self._find(f"I5: unit {unit} is owned by {name} at epoch {epoch}, after {before}")
                self._owned_at[unit] = (epoch, name)

    def between(self) -> None:
        """Books, marks and maps, at an instant."""
        assert self.fleet is not None
        for cell in self.fleet.cells.values():
            for finding in (*_books(cell), *_marks(cell), *_pins(cell)):
                self._find(finding)
        for router in self.fleet.routers.values():
            self._look_at_map(router.name, router.live_map)

    def _look_at_map(self, name: str, live_map: LiveMap) -> None:
        """I5 of one life of a router."""
        assert self.fleet is not None
        directory = live_map.current
        if directory is None:
            return
        epochs = {unit: directory.epoch_of(unit) for unit in self.fleet.units}
        seen, version, before = self._routed_at.get(name, (live_map, 0, {}))
        if seen is live_map:
            if directory.version < version:
                self._find(f"I5: the map of {name} fell from version {version} to {directory.version}")
            fell = [unit for unit, epoch in epochs.items() if epoch < before.get(unit, 0)]
            if fell:
                self._find(f"I5: the map of {name} fell back for units {fell}")
        self._routed_at[name] = (live_map, directory.version, epochs)

    def _find(self, finding: str) -> None:
        if finding not in self.findings:
            self.findings.append(finding)


def _owned(cell: SimulatedCell) -> list[Wallet]:
    states = cell.disk.units
    return [one for one in cell.disk.wallets.values() if states[one.unit].state in OWNING]


def _books(cell: SimulatedCell) -> Iterator[str]:
    sums: Counter[str] = Counter()
    for wallet in _owned(cell):
        sums[wallet.currency] += wallet.balance
    for (_, currency), total in cell.disk.account_totals.items():
        sums[currency] += total
    for currency, total in sums.items():
        if total:
            yield f"I3: the books of {cell.name} do not sum to zero in {currency}: {total}"


def _marks(cell: SimulatedCell) -> Iterator[str]:
    for wallet in cell.disk.wallets.values():
        row = cell.disk.units.get(wallet.unit)
        is_active = row is not None and row.state == "active"
        if is_active != (wallet.frozen_by is None):
            state = None if row is None else row.state
            yield f"I1: wallet {wallet.wallet_id} of a unit that is {state} in {cell.name} has mark {wallet.frozen_by}"


def _pins(cell: SimulatedCell) -> Iterator[str]:
    """L2: what is kept free in a wallet is what its open pins and transfers need."""
    kept: Counter[str] = Counter()
    for hold in cell.disk.holds.values():
        if hold.state == "open" and hold.kind == "pin":
            kept[hold.key.wallet_id] += hold.remaining
    for one in cell.disk.transfers.values():
        if one.state == "in_transit":
            kept[one.key.wallet_id] += one.amount
    for wallet in _owned(cell):
        if wallet.pinned != kept[wallet.wallet_id]:
            yield f"L2: wallet {wallet.wallet_id} in {cell.name} keeps {wallet.pinned}, not {kept[wallet.wallet_id]}"


def unhealed(fleet: SimulatedFleet) -> list[str]:
    """What is still open although nothing is wrong any more."""
    found = [f"move {move.id} is {move.state}: {move.reason} {move.detail}" for move in fleet.records.open_moves()]
    for cell in fleet.cells.values():
        found += [
            f"unit {row.unit} is {row.state} in {cell.name}"
            for row in cell.disk.units.values()
            if row.state not in {"active", "moved"} and not _is_forgotten(fleet, row.unit, row.state, cell)
        ]
        owned = {wallet.wallet_id for wallet in _owned(cell)}
        found += [
            f"transfer {one.transfer_id} is in transit in {cell.name}"
            for one in cell.disk.transfers.values()
            if one.key.wallet_id in owned and one.state == "in_transit"
        ]
        found += [
            f"group {one.group_id} is {one.state} and not finished in {cell.name}"
            for one in cell.disk.groups.values()
            if one.key.wallet_id in owned and not one.is_finished
        ]
    for unit in fleet.units:
        owners = [cell.name for cell in fleet.cells.values() if unit in cell.disk.units and _is_active(cell, unit)]
        if len(owners) != 1:
            found.append(f"unit {unit} is owned by {owners}")
        elif fleet.records.run_of(unit).cell != owners[0]:
            found.append(f"unit {unit} is in {owners[0]} and the directory says {fleet.records.run_of(unit).cell}")
    return found


def _is_forgotten(fleet: SimulatedFleet, unit: Unit, state: str | None, cell: SimulatedCell) -> bool:
    """Granted, with its new owner serving and no move left to say so: it answers like a tombstone."""
    row = cell.disk.units[unit]
    others = (other for other in fleet.cells.values() if other is not cell)
    return state == "granted" and any(
        unit in other.disk.units and other.disk.units[unit].epoch >= row.epoch and _is_active(other, unit)
        for other in others
    )


def _is_active(cell: SimulatedCell, unit: Unit) -> bool:
    return cell.disk.units[unit].state == "active"


def final_findings(fleet: SimulatedFleet) -> list[str]:
    """The history, every log, and the money of the whole fleet."""
    judged = [wallet_of(ref) for ref in fleet.judged]
    found = [
        f"{one.check}: wallet {one.wallet_id} id {one.transaction_id}: {one.detail}"
        for one in check_history(fleet.clients.history, ledger_of(fleet, judged))
    ]
    for cell in fleet.cells.values():
        for wallet in _owned(cell):
            found += [
                f"{one.invariant}: {one.field} of {one.wallet_id} must be {one.expected}, is {one.found}"
                for one in _audit(cell, wallet)
            ]
    for account in ("in_transit", "migrated"):
        total = sum(cell.disk.account_totals[account, CURRENCY] for cell in fleet.cells.values())
        if total:
            found.append(f"I3: {account} sums to {total} over the fleet, and nothing is open")
    found += [finding for sent in fleet.clients.others for finding in _judge(fleet, sent)]
    found += _judge_groups(fleet)
    found += [
        f"move {move.id} is in quarantine: {move.reason} {move.detail}"
        for move in fleet.records.moves.values()
        if move.state == "quarantined"
    ]
    return found


def ledger_of(fleet: SimulatedFleet, wallet_ids: list[WalletId]) -> Ledger:
    wallets: dict[str, StoredWallet] = {}
    entries: dict[str, tuple[StoredEntry, ...]] = {}
    for cell in fleet.cells.values():
        for wallet in _owned(cell):
            if wallet.wallet_id in wallet_ids:
                wallets[wallet.wallet_id] = StoredWallet(
                    wallet_id=wallet.wallet_id,
                    cell=cell.name,
                    balance=wallet.balance,
                    seq=wallet.seq,
                    head_hash=wallet.head_hash.hex(),
                )
                log = cell.disk.entries[wallet.wallet_id]
                entries[wallet.wallet_id] = tuple(
                    StoredEntry(
                        wallet_id=entry.wallet_id,
                        seq=entry.seq,
                        kind=entry.kind,
                        delta=entry.delta,
                        balance_after=entry.balance_after,
                        held_after=entry.held_after,
                        overdraft_limit_after=entry.overdraft_limit_after,
                        transaction_id=entry.transaction_id,
                        vendor_id=entry.vendor_id,
                        counter_account=entry.counter_account,
                        posted_at=instant_text(entry.posted_at_us),
                        hash=entry.hash.hex(),
                        subject_id=entry.subject_id,
                        reason=entry.reason,
                    )
                    for entry in log
                )
    totals = tuple(
        CellTotal(cell=cell.name, currency=CURRENCY, wallets=_sum(cell), accounts=_accounts(cell))
        for cell in fleet.cells.values()
    )
    return Ledger(wallets=wallets, entries=entries, totals=totals)


def _sum(cell: SimulatedCell) -> int:
    return sum(wallet.balance for wallet in _owned(cell))


def _accounts(cell: SimulatedCell) -> int:
    return sum(total for (_, currency), total in cell.disk.account_totals.items() if currency == CURRENCY)


def _audit(cell: SimulatedCell, wallet: Wallet) -> list[object]:
    disk, opened = cell.disk, cell.disk.opened.get(wallet.wallet_id)
    holds = [hold for hold in disk.holds.values() if hold.key.wallet_id == wallet.wallet_id]
    sent = (one for one in disk.transfers.values() if one.key.wallet_id == wallet.wallet_id)
    audit = LogAudit(
        AuditedWallet(
            wallet_id=wallet.wallet_id,
            owner_type=wallet.owner_type,
            owner_ref="" if opened is None else opened.owner_ref,
            kind="" if opened is None else opened.kind,
            currency=wallet.currency,
            status=wallet.status,
            balance=wallet.balance,
            held=wallet.held,
            overdraft_limit=wallet.overdraft_limit,
            seq=wallet.seq,
            head_hash=wallet.head_hash,
            posted_at_us=wallet.posted_at_us,
            metadata="{}" if opened is None else opened.metadata,
            pinned=wallet.pinned,
            sent_away=sum(one.amount for one in sent if one.state == "in_transit"),
        ),
        holds,
    )
    for entry in disk.entries[wallet.wallet_id]:
        sealed = {"salt": entry.salt, "details": entry.details, "context": entry.context}
        audit.read(AuditedEntry(canonical=entry, hash=entry.hash, **sealed))
    return list(audit.finish())


def _judge(fleet: SimulatedFleet, sent: Sent) -> Iterator[str]:
    """I2 and I4 for what no model re-enacts: one decision for ever, and one entry of it."""
    name = f"{sent.path} {sent.body['transaction_id']}"
    lasting = [(one.status, one.document.get("reason"), one.document.get("entry_hash")) for one in sent.decisions]
    if len({key for key, _ in groupby(sorted(lasting, key=str))}) > 1:
        yield f"I4: {name} was answered {lasting}"
    if not sent.decisions:
        yield f"I4: {name} was never decided"
    if "groups" in sent.path:
        return
    entries = [
        entry
        for cell in fleet.cells.values()
        for wallet in _owned(cell)
        if wallet.wallet_id == sent.wallet_id
        for entry in cell.disk.entries[wallet.wallet_id]
        if entry.transaction_id == sent.body["transaction_id"]
    ]
    if len(entries) != 1:
        yield f"I2: {name} has {len(entries)} entries"
    elif sent.decisions and (entries[0].kind == "refused") != _is_refused_at_once(sent):
        yield f"I2: {name} was answered {lasting[0]} and is written down as {entries[0].kind}"


def _is_refused_at_once(sent: Sent) -> bool:
    """A transfer that came back was accepted first."""
    last = sent.decisions[-1]
    return last.status == 422 and last.document.get("state") != "refunded"


def _judge_groups(fleet: SimulatedFleet) -> Iterator[str]:
    """All legs or none, as their wallets have it."""
    holds = {
        (hold.key.wallet_id, hold.key.transaction_id): hold
        for cell in fleet.cells.values()
        for wallet in _owned(cell)
        for hold in cell.disk.holds.values()
        if hold.key.wallet_id == wallet.wallet_id and hold.kind != "vendor"
    }
    for cell in fleet.cells.values():
        owned = {wallet.wallet_id for wallet in _owned(cell)}
        for group in cell.disk.groups.values():
            if group.key.wallet_id not in owned:
                continue
            wanted = {"captured"} if group.state == "confirmed" else {"released"}
            for leg in group.legs:
                hold = holds.get((leg.wallet_id, group.group_id))
                if hold is not None and hold.state not in wanted:
                    yield f"P7: group {group.group_id} is {group.state}, its leg on {leg.wallet_id} is {hold.state}"
