"""Supervisors that change the roles of a cell's databases carelessly, each as a function that replaces one piece."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any


def promote_who_merely_follows() -> None:
    """Nobody demands that commits wait for the standby, and it takes over all the same."""
    from cellwallet.local import failover, pair_watch  # noqa: PLC0415 - only the mutated program needs it

    plan = failover.plan

    def careless(pair: failover.Pair, seen: failover.Seen) -> failover.Plan:
        if pair.phase != "following" or not seen.is_open:
            return plan(pair, seen)
        if seen.primary_has_ended and seen.standby_answers:
            return failover.Plan(then=replace(pair, phase="fencing"))
        return plan(pair, seen) if not seen.has_slot else failover.Plan(why="nobody has to wait")

    async def why_unprotected(watch: pair_watch.PairWatch) -> str | None:
        return None if watch.described()["is_streaming"] else "the standby must follow"

    pair_watch.plan = careless
    pair_watch.PairWatch.why_unprotected = why_unprotected  # type: ignore[method-assign]


def forget_to_record() -> None:
    """The standby is promoted, and nobody vouches for its timeline."""
    from cellwallet.local import pair_acts  # noqa: PLC0415

    def do_nothing(*_: Any) -> None:
        return

    pair_acts._vouch = do_nothing


def evacuate_homes_alone() -> None:
    """Whatever zone is to be left, a primary that is away from home has left it."""
    from cellwallet.local import primaries  # noqa: PLC0415

    verdict_on = primaries.verdict_on

    def about_home(order: Any, databases: Any) -> Any:
        return verdict_on(order.model_copy(update={"zone": databases.zones["first"]}), databases)

    primaries.verdict_on = about_home


PAIR_MUTANTS: dict[str, Callable[[], None]] = {
    mutant.__name__: mutant for mutant in (promote_who_merely_follows, forget_to_record, evacuate_homes_alone)
}
