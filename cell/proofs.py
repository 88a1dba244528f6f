"""What readers are shown of checkpoints: pages of them, and the proof that a wallet is in one. Knows no HTTP."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from cell.store import checkpoint_reads
from cell.store.checkpoint_reads import LeafInTree
from cell.store.reads import Order
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value

T = TypeVar("T")


class Asked(Protocol):
    """The read path's pool (cell/queries.py)."""

    async def ask(self, question: Callable[[AsyncConnection], Awaitable[T]]) -> T: ...


@value
class CheckpointPage:
    documents: tuple[str, ...]
    """Signed, as they were published."""
    last_number: int | None
    """Where the next page goes on; None at the end."""


@value
class WalletProof:
    tree: LeafInTree
    document: str
    """Of the checkpoint, signed."""


class Proofs:
    def __init__(self, store: Asked) -> None:
        self._store = store

    async def checkpoints(self, *, limit: int, order: Order, after: int | None) -> CheckpointPage:
        rows = await self._store.ask(
            lambda connection: checkpoint_reads.checkpoint_page(connection, limit=limit + 1, order=order, after=after)
        )
        shown = rows[:limit]
        return CheckpointPage(
            documents=tuple(document for _, document in shown),
            last_number=shown[-1][0] if len(rows) > limit else None,
        )

    async def proof(self, wallet_id: WalletId, number: int | None) -> WalletProof | Problem:
        """In the checkpoint of this number, or in the newest."""

        async def ask(connection: AsyncConnection) -> WalletProof | Problem:
            found = await checkpoint_reads.checkpoint_text(connection, number)
            if found is None:
                which = "no checkpoint yet" if number is None else f"no checkpoint {number}"
                return _absent(f"This cell has taken {which}.")
            tree = await checkpoint_reads.leaf_in_tree(connection, found[0], wallet_id)
            if tree is None:
                return _absent(f"The tree of checkpoint {found[0]} is not kept any more, or the wallet is younger.")
            return WalletProof(tree=tree, document=found[1])

        return await self._store.ask(ask)


def _absent(detail: str) -> Problem:
    return Problem(reason=Reason.CHECKPOINT_MUST_EXIST, detail=detail)
