"""The first placement covers every slot once, evenly, whatever the order in which cells came."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from contract.slots import SLOTS
from control_plane.fleet.placement import first_shares

CELLS = st.lists(st.from_regex(r"\A[a-z][a-z0-9-]{0,8}\Z"), min_size=1, max_size=60, unique=True)


@given(CELLS)
def test_shares_cover_every_slot_exactly_once_in_even_stretches(cells: list[str]) -> None:
    shares = first_shares(cells)
    slots = [slot for share in shares for slot in range(share.first, share.last + 1)]
    sizes = {share.last - share.first + 1 for share in shares}
    assert slots == list(range(SLOTS))
    assert max(sizes) - min(sizes) <= 1
    assert [share.cell for share in shares] == sorted(cells)


@given(CELLS, st.randoms())
def test_the_order_of_arrival_does_not_matter(cells: list[str], random: Random) -> None:
    shuffled = random.sample(cells, len(cells))
    assert first_shares(shuffled) == first_shares(cells)


def test_three_cells() -> None:
    assert [(share.first, share.last) for share in first_shares(["c", "a", "b"])] == [
        (0, 5460),
        (5461, 10921),
        (10922, 16383),
    ]
