"""What a command may take: the single amount, and the two sums of a day, each on its own."""

import pytest

from cell.ledger.limits import DAY_US, Caps, counted, day_of, is_within

CAPS = Caps(amount_max=100, wallet_day_max=250, vendor_day_max=150)


@pytest.mark.parametrize(
    ("caps", "amount", "by_all", "by_vendor", "expected"),
    [
        (Caps(), 2**53 - 1, 2**60, 2**60, True),
        (CAPS, 100, 0, 0, True),
        (CAPS, 101, 0, 0, False),
        (CAPS, 50, 200, 0, True),
        (CAPS, 51, 200, 0, False),
        (CAPS, 50, 100, 100, True),
        (CAPS, 51, 100, 100, False),
        (CAPS, 1, 250, 0, False),
        (Caps(wallet_day_max=10), 10, 0, 99, True),
        (Caps(vendor_day_max=10), 10, 99, 0, True),
    ],
)
def test_the_most_that_may_be_taken(caps: Caps, amount: int, by_all: int, by_vendor: int, *, expected: bool) -> None:
    assert is_within(caps, amount, spent_by_all=by_all, spent_by_vendor=by_vendor) is expected


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        (None, ()),
        (Caps(amount_max=5), ()),
        (Caps(wallet_day_max=5), (("w", ""),)),
        (Caps(vendor_day_max=5), (("w", "v"),)),
        (CAPS, (("w", ""), ("w", "v"))),
    ],
)
def test_only_sums_that_are_limited_are_kept(caps: Caps | None, expected: tuple[tuple[str, str], ...]) -> None:
    assert counted(caps, wallet_id="w", vendor_id="v") == expected


def test_a_day_is_a_utc_day() -> None:
    assert [day_of(instant) for instant in (0, DAY_US - 1, DAY_US)] == [0, 0, 1]
