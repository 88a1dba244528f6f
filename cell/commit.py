"""The write path: the one function that changes money.

A batch of commands is one transaction: lock and load the union of their footprints, decide one after the other,
save in bulk, commit once. What the data or a bug of ours breaks is pinned on its one command by halving the batch.
What the store could not finish (lost, busy) is raised to the lane, which runs the same commands again: recorded
outcomes make that exact. Knows no SQL, HTTP or queues.
"""

from collections.abc import Sequence

from cell.ledger.commands import Command
from cell.ledger.decide import decide
from cell.ledger.footprint import footprint, union
from cell.ledger.outcomes import NOTHING, Accepted, Changes, Marked, Outcome, Refused, Rejected, Replayed
from cell.ledger.view import View, apply
from cell.ports import LedgerSession, StoreBusyError, StoreLostError
from contract.problems import Problem
from contract.reasons import Reason


async def commit(session: LedgerSession, commands: Sequence[Command]) -> list[Outcome]:
    """The outcome of each command, in order; what they change is committed when this returns.

    Raises:
        StoreLostError: it is unknown whether the commit happened.
        StoreBusyError: nothing was written.

    """
    try:
        return await _commit_together(session, commands)
    except (StoreLostError, StoreBusyError):
        raise
    except Exception as error:  # noqa: BLE001 - refused data or a bug of ours: the other callers must not pay for it
        await session.abandon()
        if len(commands) == 1:
            return [_poisoned(commands[0], error)]
    half = len(commands) // 2
    return [*await commit(session, commands[:half]), *await commit(session, commands[half:])]


async def _commit_together(session: LedgerSession, commands: Sequence[Command]) -> list[Outcome]:
    footprints = [footprint(command) for command in commands]
    loaded = await session.load(union(footprints))
    outcomes: list[Outcome] = []
    changes: list[Changes] = []
    for command, touched in zip(commands, footprints, strict=True):
        outcome = decide(View(loaded, touched), command, loaded.now_us)
        if isinstance(outcome, Accepted | Refused | Marked) and outcome.changes is not NOTHING:
            apply(loaded, outcome.changes)
            changes.append(outcome.changes)
        outcomes.append(outcome)
    if changes:
        await session.save(changes)
    elif any(isinstance(one, Replayed) for one in outcomes):
        await session.confirm()  # what somebody else committed may not be everywhere yet where commits are to be
    else:
        await session.abandon()
    return outcomes


def _poisoned(command: Command, error: Exception) -> Rejected:
    return Rejected(
        problem=Problem(
            reason=Reason.REQUEST_MUST_NOT_BREAK_THE_CELL,
            detail=f"This {command.KIND} could not be written, even alone; nothing was changed.",
        ),
        cause=f"{type(error).__name__}: {error}",
    )
