"""Control planes with one protection of rollouts taken away: RELEASE_MUTANT names it, `mutated/` is on their path."""

from typing import Any


def every_window_is_good() -> None:
    """Who judges does not look."""
    from control_plane.rollouts import judging  # noqa: PLC0415 - only the mutated program needs it

    def judge(*_: Any, **__: Any) -> judging.Judgement:
        return judging.Judgement(verdict="good", findings=())

    judging.judge = judge


def the_record_is_all_there_is() -> None:
    """What runs and is not recorded is taken for somebody else's, and not for what was done before a kill."""
    from control_plane.rollouts import deciding  # noqa: PLC0415

    begin = deciding._begin

    def begin_by_the_record(rollout: Any, deployment: Any, around: Any, *, has_place: bool) -> Any:
        step = begin(rollout, deployment, around, has_place=has_place)
        if type(step).__name__ != "NotePatched":
            return step
        return deciding.foreign(deployment, deciding.seen_of(deployment, around)[1])

    deciding._begin = begin_by_the_record


MUTANTS = {mutant.__name__: mutant for mutant in (every_window_is_good, the_record_is_all_there_is)}
