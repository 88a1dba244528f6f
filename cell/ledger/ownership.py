"""Whether this cell may answer for a wallet: the fence is on the wallet row, the unit's state says why and where to.

A cell never trusts a router about ownership; a stale router costs a retry, never money.
"""

from typing import Any

from cell.ledger.model import Exile, UnitState
from contract.ids import WalletId
from contract.problems import Problem
from contract.reasons import Reason
from contract.slots import Unit, slot_of


def refuse_absent(wallet_id: WalletId, state: UnitState | None, exile: Exile | None) -> Problem | None:
    """Why a wallet without a row is not this cell's to judge; None = it is: the wallet does not exist.

    `state` is that of the wallet's slot.
    """
    if exile is not None:
        return _misdirected(exile.unit, exile.cell, exile.epoch, wallet_id=wallet_id)
    if state is not None and state.state == "active":
        return None
    return refuse_write(slot_of(wallet_id), state)


def refuse_write(unit: Unit, state: UnitState | None) -> Problem:
    """Why a wallet of this unit takes no command now, its row being frozen or its slot not active here."""
    match state.state if state is not None else None:
        case "fenced" | "active" | "staged":  # a staged unit is ours as soon as its grant is here
            return Problem(
                reason=Reason.WALLET_IS_MOVING,
                detail="The wallet is on its way to another cell; the same request succeeds in a moment.",
                facts={"unit": unit},
            )
        case "granted" | "moved" if state is not None:
            return _misdirected(unit, state.peer_cell, state.epoch)
        case _:
            return _misdirected(unit, None, None)


def refuse_read(unit: Unit, state: UnitState | None) -> Problem | None:
    """Why a frozen wallet is not read here; None = it is: under a fence this cell still knows best."""
    if state is not None and state.state in {"active", "fenced"}:
        return None
    return refuse_write(unit, state)


def _misdirected(unit: Unit, cell: str | None, epoch: int | None, *, wallet_id: WalletId | None = None) -> Problem:
    facts: dict[str, Any] = {"unit": unit, "cell": cell, "epoch": epoch}
    if wallet_id is not None:
        facts["wallet_id"] = wallet_id
    return Problem(
        reason=Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL,
        detail=f"Unit {unit} is not owned by this cell.",
        facts=facts,
    )
