"""What a run is shrunk to when somebody asks for less."""

from loadtests.scale import FULL, QUICK, MoveScale, shrunk


def test_nothing_is_asked_for_and_nothing_changes() -> None:
    assert shrunk(FULL, wallets=None, rounds=None, seconds=None, history=None) == FULL


def test_moves_shrink_with_wallets_seconds_and_history_and_never_grow() -> None:
    small = shrunk(QUICK, wallets=8, rounds=1, seconds=0.3, history=300).moves
    assert (small.wallets, small.neighbours, small.still_s, small.long_entries) == (8, 8, 0.3, 300)
    assert (small.moves_each, small.slot_per_s) == (QUICK.moves.moves_each, QUICK.moves.slot_per_s)
    large = shrunk(QUICK, wallets=10**6, rounds=1, seconds=100.0, history=10**9).moves
    assert large == QUICK.moves


def test_a_full_run_is_what_the_target_speaks_of() -> None:
    assert FULL.moves == MoveScale()
    assert (FULL.moves.wallets, FULL.moves.slot_per_s, FULL.moves.hot_per_s) == (600, 600, 500)
    assert FULL.moves.long_entries == 1_000_000
    assert FULL.moves.moves_each % 2 == FULL.moves.long_moves % 2 == 0, "there and back"
