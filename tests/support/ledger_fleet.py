"""Several cells as books, and the messages between them: sagas of transfers and groups with nothing but their rules.

A message may be lost, come twice, late or in another order; cells forget what is on its way when they crash; wallets
move at any time with everything that is theirs. What the loops of a cell do (cell/transfers.py, cell/groups.py) is
played here step by step: look at what is open, ask, and tell the write path what was answered.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

from ledger_book import Book

from cell.ledger.commands import CancelLeg, Command, ReceiveTransfer, SendTransfer, StartGroup
from cell.ledger.footprint import key_of, leg_key_of
from cell.ledger.model import Entry, Group, Instant, Transfer, UnitState, Wallet
from cell.ledger.outcomes import NOTHING, Accepted, Marked, Outcome, Refused, Rejected, Replayed
from cell.ledger.posting import fold, unopened
from cell.ledger.verdicts import absent
from contract.ids import WalletId, wallet_id_of
from contract.slots import slot_of
from contract.values import value

Mutant = Literal["refunds on a bare 404", "forgets receipts", "forgets cancellations"]
Ask = Literal["receive", "prepare", "end"]
SECOND_US = 1_000_000
ROUNDS_MAX = 20


@value
class Request:
    """On its way to a cell, which may not own the wallet any more."""

    cell: int
    ask: Ask
    saga: SendTransfer | StartGroup
    wallet_id: WalletId
    command: Command


@value
class Answer:
    """On its way back to whoever coordinates the saga."""

    ask: Ask
    saga: SendTransfer | StartGroup
    wallet_id: WalletId
    is_done: bool
    reason: str | None


class Fleet:
    def __init__(self, homes: dict[str, int], *, cells: int, mutant: Mutant | None = None) -> None:
        self.client = Book()
        """Makes commands and decides nothing."""
        self.cells = [Book() for _ in range(cells)]
        self.now_us = self.client.loaded.now_us
        self.mutant = mutant
        self.messages: list[Request | Answer] = []
        self.sagas: list[SendTransfer | StartGroup] = []
        self.refs = {
            ref: wallet_id_of(owner_type="person", owner_ref=ref, kind="main", currency="EUR") for ref in homes
        }
        self.owners = {self.refs[ref]: cell for ref, cell in homes.items()}
        for wallet_id, owner in self.owners.items():
            for number, book in enumerate(self.cells):
                if number != owner:
                    book.lose_unit(wallet_id)

    def decide(self, command: Command, *, cell: int | None = None) -> Outcome:
        """At the wallet's cell, or at another that is taken for it."""
        book = self.cells[self.owners[command.wallet_id] if cell is None else cell]
        match command, self.mutant:
            case ReceiveTransfer(), "forgets receipts":
                book.loaded.recorded.pop(key_of(command), None)
            case ReceiveTransfer(), "refunds on a bare 404" if not _is_here(book, command.wallet_id):
                return absent(command.wallet_id)
            case CancelLeg(), "forgets cancellations" if (
                leg_key_of(command.wallet_id, command.group_id) not in book.loaded.holds
            ):
                return Marked(changes=NOTHING)
        return book.decide(command, now_us=self.now_us)

    def start(self, saga: SendTransfer | StartGroup) -> None:
        """What was not even recorded leaves nothing to be finished."""
        if isinstance(self.decide(saga), Accepted | Refused):
            self.sagas.append(saga)

    def move(self, wallet_id: WalletId, to: int) -> None:
        """With all that is the wallet's, at one instant; what is on its way to the old cell arrives there."""
        source, target = self.cells[self.owners[wallet_id]], self.cells[to]
        if source is target:
            return
        source.lose_unit(wallet_id)
        unit = slot_of(wallet_id)
        target.loaded.unit_states[unit] = UnitState(unit=unit, state="active", epoch=2)
        if wallet_id in source.loaded.wallets:
            target.loaded.wallets[wallet_id] = source.loaded.wallets.pop(wallet_id)
        for table in ("recorded", "reversed_amounts", "holds", "transfers", "groups"):
            rows = getattr(source.loaded, table)
            mine = {key: rows.pop(key) for key in list(rows) if key.wallet_id == wallet_id}
            getattr(target.loaded, table).update(mine)
        self.owners[wallet_id] = to

    def transfer(self, saga: SendTransfer) -> Transfer | None:
        return self.cells[self.owners[saga.wallet_id]].loaded.transfers.get(key_of(saga))

    def group(self, saga: StartGroup) -> Group | None:
        return self.cells[self.owners[saga.wallet_id]].loaded.groups.get(key_of(saga))

    # What the loops do.

    def open_sagas(self) -> list[SendTransfer | StartGroup]:
        return [saga for saga in self.sagas if self._is_open(saga)]

    def pursue(self, saga: SendTransfer | StartGroup, *, route: Callable[[WalletId], int] | None = None) -> None:
        """Ask whatever is not known yet; too late, decide."""
        find = route or self.owners.__getitem__
        for ask, wallet_id, command in self._requests(saga):
            self.messages.append(
                Request(cell=find(wallet_id), ask=ask, saga=saga, wallet_id=wallet_id, command=command)
            )
        if isinstance(saga, StartGroup):
            self.decide(self.client.decide_group(saga))

    def deliver(self, message: Request | Answer) -> None:
        if isinstance(message, Request):
            outcome = self.decide(message.command, cell=message.cell)
            self.messages.append(_answer(message, outcome, self.mutant))
        elif message.is_done or message.reason is not None:
            self._follow(message)

    def crash(self, cell: int) -> None:
        """What was on its way to this cell is gone; what was committed is not."""
        self.messages = [message for message in self.messages if self._destination(message) != cell]

    def ask_coordinator(self, saga: StartGroup, wallet_id: WalletId) -> None:
        """A prepared leg has waited long enough; it never decides by itself."""
        group = self.group(saga)
        if group is not None and group.state != "preparing":
            self.decide(self._end(saga, wallet_id, group))

    def quiesce(self) -> None:
        """Everything late arrives, and the loops go on until nothing is open."""
        for _ in range(ROUNDS_MAX):
            while self.messages:
                self.deliver(self.messages.pop())
            if not self.open_sagas():
                return
            self.now_us = Instant(self.now_us + SECOND_US)
            for saga in self.open_sagas():
                self.pursue(saga)
        raise AssertionError(f"still open: {self.open_sagas()}")

    # What must hold.

    def total(self) -> int:
        wallets = sum(wallet.balance for book in self.cells for wallet in book.loaded.wallets.values())
        return wallets + sum(delta for book in self.cells for _, _, delta in book.account_deltas)

    def in_transit(self) -> int:
        deltas = (one for book in self.cells for one in book.account_deltas)
        return sum(delta for account, _, delta in deltas if account == "in_transit")

    def wallets(self) -> Iterator[Wallet]:
        for book in self.cells:
            yield from book.loaded.wallets.values()

    def log(self, wallet_id: WalletId) -> list[Entry]:
        return sorted((one for book in self.cells for one in book.log(wallet_id)), key=lambda entry: entry.seq)

    def assert_consistent(self) -> None:
        """At every instant."""
        assert self.total() == 0
        for wallet in self.wallets():
            assert wallet.available >= 0
            loaded = self.cells[self.owners[wallet.wallet_id]].loaded
            holds = [hold for hold in loaded.holds.values() if hold.key.wallet_id == wallet.wallet_id]
            away = [
                one.amount
                for one in loaded.transfers.values()
                if one.key.wallet_id == wallet.wallet_id and one.state == "in_transit"
            ]
            assert wallet.held == sum(hold.remaining for hold in holds if hold.kind != "pin")
            pins = sum(hold.remaining for hold in holds if hold.kind == "pin")
            assert wallet.pinned == pins + sum(away)

    def assert_finished(self) -> None:
        """Once nothing is on its way any more."""
        self.assert_consistent()
        assert self.in_transit() == 0
        for wallet in self.wallets():
            assert (wallet.held, wallet.pinned) == (0, 0)
            folded = unopened(wallet.wallet_id)
            for entry in self.log(wallet.wallet_id):
                folded = fold(folded, entry)
            assert replace(folded, currency=wallet.currency, owner_type=wallet.owner_type) == wallet
        for saga in self.sagas:
            if isinstance(saga, SendTransfer):
                self._assert_transfer(saga)
            else:
                self._assert_group(saga)

    def _assert_transfer(self, saga: SendTransfer) -> None:
        moved = [entry.delta for entry in self.log(saga.wallet_id) if _is_about(entry, saga)]
        received = [entry.delta for entry in self.log(saga.to_wallet_id) if entry.transaction_id == saga.transfer_id]
        arrived = [delta for delta in received if delta != 0]
        transfer = self.transfer(saga)
        state = transfer.state if transfer is not None else "settled" if any(moved) else "refused"
        expected = {
            "settled": ([-saga.amount], [saga.amount]),
            "refunded": ([-saga.amount, saga.amount], []),
            "refused": ([0], []),
        }
        assert (moved, arrived) == expected[state]

    def _assert_group(self, saga: StartGroup) -> None:
        group = self.group(saga)
        assert group is not None
        assert group.is_finished
        is_confirmed = group.state == "confirmed"
        ids = {saga.transaction_id, saga.group_id}
        for leg in saga.legs:
            mine = [one for one in self.log(leg.wallet_id) if one.transaction_id in ids or one.subject_id in ids]
            assert [one.delta for one in mine if one.delta] == ([leg.amount] if is_confirmed else [])

    def _is_open(self, saga: SendTransfer | StartGroup) -> bool:
        if isinstance(saga, SendTransfer):
            transfer = self.transfer(saga)
            return transfer is not None and transfer.state == "in_transit"
        group = self.group(saga)
        return group is not None and not group.is_finished

    def _requests(self, saga: SendTransfer | StartGroup) -> Iterator[tuple[Ask, WalletId, Command]]:
        if not self._is_open(saga):
            return
        if isinstance(saga, SendTransfer):
            yield "receive", saga.to_wallet_id, self.client.receive(saga)
            return
        group = self.group(saga)
        for leg in group.legs if group is not None else ():
            if group is not None and group.state == "preparing" and leg.state == "asked":
                yield "prepare", leg.wallet_id, self.client.prepare(saga, leg.wallet_id)
            if group is not None and group.state not in {"preparing", leg.state}:
                yield "end", leg.wallet_id, self._end(saga, leg.wallet_id, group)

    def _end(self, saga: StartGroup, wallet_id: WalletId, group: Group) -> Command:
        if group.state == "confirmed":
            return self.client.confirm(saga, wallet_id)
        return self.client.cancel(saga, wallet_id)

    def _follow(self, answer: Answer) -> None:
        """The coordinator tells its write path what was answered."""
        saga = answer.saga
        if isinstance(saga, SendTransfer):
            self.decide(self.client.settle(saga) if answer.is_done else self.client.refund(saga))
        elif answer.ask == "end":
            if answer.is_done:
                self.decide(self.client.mark(saga, answer.wallet_id))
        elif answer.is_done:
            self.decide(self.client.decide_group(saga, prepared=[answer.wallet_id]))
        else:
            self.decide(self.client.decide_group(saga, refused=[(answer.wallet_id, answer.reason or "")]))

    def _destination(self, message: Request | Answer) -> int:
        return message.cell if isinstance(message, Request) else self.owners[message.saga.wallet_id]


def _is_here(book: Book, wallet_id: WalletId) -> bool:
    wallet = book.loaded.wallets.get(wallet_id)
    return wallet is not None and wallet.status != "unopened"


def _is_about(entry: Entry, saga: SendTransfer) -> bool:
    is_refund = entry.kind == "refund" and entry.subject_id == saga.transaction_id
    return is_refund or entry.transaction_id == saga.transaction_id


def _answer(request: Request, outcome: Outcome, mutant: Mutant | None) -> Answer:
    """Done, refused for the record, or unknown: only a recorded refusal is a no."""
    reason: str | None = None
    match outcome:
        case Refused() | Replayed():
            reason = outcome.recorded.reason
        case Rejected() if mutant == "refunds on a bare 404" and outcome.problem.code == "wallet_must_exist":
            reason = outcome.problem.code
    is_done = reason is None and isinstance(outcome, Accepted | Replayed | Marked)
    return Answer(ask=request.ask, saga=request.saga, wallet_id=request.wallet_id, is_done=is_done, reason=reason)
