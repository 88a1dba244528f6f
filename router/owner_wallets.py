"""`GET /v1/owners/{type}/{ref}/wallets`: asks every cell in parallel, because ids say nothing of their owner.

All cells must answer: a list that silently lacks the wallets of one cell would be wrong.
"""

import asyncio
from typing import Any

import orjson

from contract.ids import WalletId
from router.answers import Answer, json_answer
from router.delivery import Delivery, unreachable
from router.request import Request
from router.routing.directory import Cell, Directory


async def wallets_of_owner(request: Request, delivery: Delivery, directory: Directory) -> Answer:
    """The merged list, or the answer of a cell that has none."""
    cells = directory.owning_cells()
    if not cells:
        return unreachable(request, "No cell owns any wallet yet.")
    answers = await asyncio.gather(*(delivery.to_cell(request, cell) for cell in cells))
    request.cell_id = None
    refusals = [answer for answer in answers if answer.status != 200]
    if refusals:
        return min(refusals, key=lambda answer: answer.status >= 500)  # what the vendor can mend comes first
    wallets: dict[str, dict[str, Any]] = {}
    for cell, answer in zip(cells, answers, strict=True):
        listed = _listed(answer)
        if listed is None:
            return unreachable(request, f"Cell {cell.id} sent no list of wallets.")
        _merge(wallets, listed, cell, directory)
    ordered = sorted(wallets.values(), key=lambda wallet: (wallet["kind"], wallet["currency"], wallet["wallet_id"]))
    asked = b",".join(cell.id.encode() for cell in cells)
    return json_answer({"wallets": ordered}, headers=[(b"x-cell", asked)])


def _listed(answer: Answer) -> list[dict[str, Any]] | None:
    if answer.rest is not None:
        return None
    try:
        return list(orjson.loads(answer.body)["wallets"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _merge(wallets: dict[str, dict[str, Any]], listed: list[dict[str, Any]], cell: Cell, directory: Directory) -> None:
    """While a unit moves two cells may list its wallets: the one that the map names is believed."""
    for wallet in listed:
        wallet_id = WalletId(wallet["wallet_id"])
        owner = directory.owner_of(wallet_id).cell
        if wallet_id not in wallets or (owner is not None and owner.id == cell.id):
            wallets[wallet_id] = wallet
