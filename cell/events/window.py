"""Which entries come next, in the order of each wallet's log.

Entries are read in whole windows of xid: a window ends below the oldest transaction that is still open, so nothing can
appear in it later. But the order of xids is not that of a wallet: a batch takes its xid at its first row and may then
wait for a wallet that a younger xid has. So a window may show an entry whose predecessor stands in a later window. Then
the predecessor, which is committed, is brought forward; the wallet's cursor passes over it when its own window comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from contract.values import value


class Numbered(Protocol):
    @property
    def wallet_id(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def xid(self) -> int: ...


E = TypeVar("E", bound=Numbered)


@value
class Window(Generic[E]):
    """Everything with `from_xid` <= xid < `to_xid`."""

    from_xid: int
    to_xid: int
    entries: tuple[E, ...]
    reaches_horizon: bool = False
    """Whether everything that can be read by now is below its end."""


def cut(entries: Sequence[E], *, from_xid: int, horizon: int, at_most: int) -> Window[E]:
    """A whole window out of the first `at_most` + 1 entries, in order of xid; the last xid is left for the next one.

    It is empty where a single transaction has more than `at_most` entries: `to_xid` is then that transaction's.
    """
    if len(entries) <= at_most:
        return Window(from_xid=from_xid, to_xid=horizon, entries=tuple(entries), reaches_horizon=True)
    last = entries[-1].xid
    return Window(from_xid=from_xid, to_xid=last, entries=tuple(entry for entry in entries if entry.xid < last))


def lines(entries: Iterable[E], cursors: Mapping[str, int]) -> dict[str, list[E]]:
    """By wallet what it has not been told yet, in order of seq."""
    by_wallet: dict[str, dict[int, E]] = {}
    for entry in entries:
        if entry.seq > cursors.get(entry.wallet_id, 0):
            by_wallet.setdefault(entry.wallet_id, {})[entry.seq] = entry
    return {wallet_id: [line[seq] for seq in sorted(line)] for wallet_id, line in by_wallet.items()}


def up_to(told: Mapping[str, list[E]], limits: Mapping[str, int]) -> dict[str, list[E]]:
    """The lines without what must wait for the cell that had the wallet before."""
    kept = {
        wallet_id: line if wallet_id not in limits else [entry for entry in line if entry.seq <= limits[wallet_id]]
        for wallet_id, line in told.items()
    }
    return {wallet_id: line for wallet_id, line in kept.items() if line}


def has_hole(line: Sequence[E], cursor: int) -> bool:
    """Whether something stands between the cursor and the line's end that the line does not hold."""
    return line[-1].seq - cursor != len(line)


def brought_forward(older: Iterable[E], *, cursor: int, from_xid: int) -> tuple[list[E], bool]:
    """Of a wallet's entries, newest first: those that have not been told, and whether the end of them was reached.

    What is at or below the cursor was told; what has an xid below the window's was told, was of no interest, or came
    with a move (xid 0), and so was everything under it.
    """
    untold: list[E] = []
    for entry in older:
        if entry.seq <= cursor or entry.xid < from_xid:
            return untold, True
        untold.append(entry)
    return untold, False
