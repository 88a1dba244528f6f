"""Switch-overs of cells on one machine: asks the `cellwallet up` that runs them, which knows where each primary is."""

from pathlib import Path
from typing import assert_never

from contract.primaries import BringPrimary, PrimaryBrought
from control_plane.fleet.model import Unreachable
from control_plane.releaser.local_socket import LocalSocket
from control_plane.releaser.substrate import NotTaken
from control_plane.releaser.switch_overs import (
    MustWait,
    NotAvailable,
    SwitchedOver,
    SwitchFailed,
    SwitchOrder,
    SwitchOutcome,
    UnderWay,
)


class LocalSwitchOvers:
    def __init__(self, socket: Path) -> None:
        self._platform = LocalSocket(socket)

    async def switch(self, order: SwitchOrder) -> SwitchOutcome:
        wanted = BringPrimary(
            cell=order.cell.id,
            zone=order.zone,
            direction=order.direction,
            fence=order.fence,
            may_begin=order.may_begin,
        )
        answer = await self._platform.ask(wanted, PrimaryBrought)
        match answer:
            case Unreachable():
                return answer
            case NotTaken():
                return NotAvailable(detail=answer.detail)
            case _:
                return _outcome(answer)

    async def close(self) -> None:
        return


def _outcome(told: PrimaryBrought) -> SwitchOutcome:
    match told.state:
        case "there":
            return SwitchedOver(detail=told.detail)
        case "under_way":
            return UnderWay(detail=told.detail)
        case "must_wait":
            return MustWait(detail=told.detail)
        case "not_available":
            return NotAvailable(detail=told.detail)
        case "failed":
            return SwitchFailed(detail=told.detail)
        case _:
            assert_never(told.state)
