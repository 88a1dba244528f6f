"""The questions that readers of checkpoints ask, one function each."""

from collections.abc import Sequence

from sqlalchemy import asc, desc, select
from sqlalchemy.ext.asyncio import AsyncConnection

from cell.store.checkpoint_pages import PAGE, unpack_leaves
from cell.store.reads import Order
from cell.store.tables import checkpoint_pages, checkpoints
from contract.ids import WalletId
from contract.merkle import Leaf, leaf_hash, path_of
from contract.values import value


@value
class LeafInTree:
    """A wallet's leaf, its place in the tree of a checkpoint, and the siblings up to the root."""

    leaf: Leaf
    position: int
    path: tuple[bytes, ...]


async def checkpoint_page(
    connection: AsyncConnection, *, limit: int, order: Order, after: int | None
) -> Sequence[tuple[int, str]]:
    """At most `limit` checkpoints as (number, document)."""
    direction = asc if order == "asc" else desc
    statement = select(checkpoints.c.number, checkpoints.c.document).order_by(direction(checkpoints.c.number))
    if after is not None:
        statement = statement.where(checkpoints.c.number > after if order == "asc" else checkpoints.c.number < after)
    return [(row.number, row.document) for row in (await connection.execute(statement.limit(limit))).all()]


async def checkpoint_text(connection: AsyncConnection, number: int | None) -> tuple[int, str] | None:
    """One checkpoint by its number, or the newest, as (number, document)."""
    statement = select(checkpoints.c.number, checkpoints.c.document).order_by(desc(checkpoints.c.number)).limit(1)
    if number is not None:
        statement = statement.where(checkpoints.c.number == number)
    row = (await connection.execute(statement)).first()
    return None if row is None else (row.number, row.document)


async def leaf_in_tree(connection: AsyncConnection, number: int, wallet_id: WalletId) -> LeafInTree | None:
    """None = the tree is not kept any more, or the wallet is not in it. Reads one page, and the roots of the others."""
    of_tree = checkpoint_pages.c.number == number
    roots = await connection.execute(
        select(checkpoint_pages.c.page, checkpoint_pages.c.root).where(of_tree).order_by(checkpoint_pages.c.page)
    )
    upper = {row.page: row.root for row in roots.all()}
    found = await connection.execute(
        select(checkpoint_pages.c.page, checkpoint_pages.c.leaves)
        .where(of_tree, checkpoint_pages.c.first_wallet_id <= wallet_id)
        .order_by(desc(checkpoint_pages.c.first_wallet_id))
        .limit(1)
    )
    page = found.first()
    if page is None or page.page not in upper:
        return None
    leaves = unpack_leaves(page.leaves)
    within = next((at for at, leaf in enumerate(leaves) if leaf.wallet_id == wallet_id), None)
    if within is None:
        return None
    above = list(upper).index(page.page)
    siblings = path_of(within, [leaf_hash(leaf) for leaf in leaves]) + path_of(above, list(upper.values()))
    return LeafInTree(leaf=leaves[within], position=page.page * PAGE + within, path=tuple(siblings))
