"""When a round of the background audit follows at once, and when it rests."""

from cell.background.audit_loop import ROUND_ENTRIES_MAX, Rounds


def followed(rounds: Rounds, count: int, *, is_behind: bool = False) -> list[bool]:
    return [rounds.is_followed(is_behind=is_behind, is_turn_over=False) for _ in range(count)]


def test_a_round_is_short_whatever_a_period_may_read() -> None:
    assert Rounds(period_entries_max=1_000_000).entries_max == ROUND_ENTRIES_MAX
    assert Rounds(period_entries_max=7).entries_max == 7


def test_a_period_takes_as_many_rounds_as_its_share_needs_and_then_rests() -> None:
    rounds = Rounds(period_entries_max=2 * ROUND_ENTRIES_MAX + 1)
    assert followed(rounds, 6) == [True, True, False, True, True, False]
    assert followed(Rounds(period_entries_max=1), 2) == [False, False]


def test_who_is_behind_does_not_rest() -> None:
    rounds = Rounds(period_entries_max=2 * ROUND_ENTRIES_MAX)
    assert followed(rounds, 5, is_behind=True) == [True] * 5
    assert followed(rounds, 1) == [False]


def test_a_turn_that_is_over_begins_anew_after_a_rest_only() -> None:
    """A small cell is not read ten times in a period."""
    rounds = Rounds(period_entries_max=10 * ROUND_ENTRIES_MAX)
    assert rounds.is_followed(is_behind=False, is_turn_over=True) is False
    assert followed(rounds, 10) == [True] * 9 + [False]
    assert rounds.is_followed(is_behind=True, is_turn_over=True) is True
