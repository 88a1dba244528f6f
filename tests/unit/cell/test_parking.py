"""Commands set aside keep their order and come back as soon as their wallets are free."""

from cell.parking import PROBE_PERIOD_S, Parking
from contract.ids import WalletId

A, B = WalletId("a"), WalletId("b")


def parking() -> Parking[tuple[WalletId, ...]]:
    return Parking(lambda wallets: wallets)


def test_an_open_place_takes_nothing() -> None:
    place = parking()
    assert not place.takes((A,))
    assert not place.is_due(1e9)


def test_what_touches_a_held_wallet_waits_in_order() -> None:
    place = parking()
    place.close(frozenset({A}), 10.0)
    assert [place.takes(one) for one in ((A,), (B,), (B, A), (A,))] == [True, False, True, True]
    assert list(place.aside) == [(A,), (B, A), (A,)]
    assert not place.is_due(10.0 + PROBE_PERIOD_S / 2)
    assert place.is_due(10.0 + PROBE_PERIOD_S)


def test_freed_wallets_let_their_commands_go_in_order() -> None:
    place = parking()
    place.close(frozenset({A}), 10.0)
    place.close(frozenset({B}), 10.0)
    waiting = [(A,), (B,), (A, B), (A,)]
    assert all(place.takes(one) for one in waiting)
    assert place.reopen(frozenset({B}), 11.0) == [(A,), (A,)]
    assert place.reopen(frozenset(), 12.0) == [(B,), (A, B)]
    assert not place.takes((A,))
