"""The formulas of headroom: worked examples, what moves which way, and survival tried out by brute force."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cellwallet.headroom.cells import CellMargins, Outlook, cells_for, placed_per_s
from cellwallet.headroom.fleet import Sizes, Wanted, plan_fleet
from cellwallet.headroom.sound import HeadroomMustBeSoundError
from cellwallet.headroom.tier import Tier, utilisation_ceiling
from contract.slots import SLOTS

MARGINS = CellMargins(limit_per_s=1_000)
OUTLOOK = Outlook()


@pytest.mark.parametrize(
    ("drain_s", "carried", "placed", "cells"), [(300, 807, 654, 14), (60, 658, 533, 16)], ids=["five minutes", "one"]
)
def test_worked_examples(drain_s: float, carried: int, placed: int, cells: int) -> None:
    margins = replace(MARGINS, drain_s=drain_s)
    rate_per_s = placed_per_s(margins, OUTLOOK)
    assert (round(margins.carried_per_s), round(rate_per_s)) == (carried, placed)
    assert cells_for(8_000, placed_per_s=rate_per_s) == cells


@pytest.mark.parametrize(("zones", "ceiling"), [(2, 1 / 2), (3, 2 / 3), (5, 4 / 5)])
def test_the_ceiling_of_utilisation(zones: int, ceiling: float) -> None:
    assert utilisation_ceiling(zones) == ceiling


def test_a_ceiling_does_not_turn_on_the_last_bit() -> None:
    """1,000 · 0.6 is below 600 in binary."""
    tier = Tier(demand_per_s=600, process_per_s=1_000, zones=2, utilisation=0.6, missing=0)
    assert tier.processes_per_zone == 1


def test_equal_shares_are_no_shares() -> None:
    tier = Tier(demand_per_s=9_999, process_per_s=700, zones=4)
    assert replace(tier, shares=(0.25,) * 4).processes_per_zone == tier.processes_per_zone


def test_an_uneven_zone_is_sized_for() -> None:
    """The largest zone's traffic is what the others must take when it goes; and it takes the others'."""
    tier = Tier(demand_per_s=1_000, process_per_s=100, utilisation=1, missing=0, shares=(0.6, 0.2, 0.2))
    assert tier.processes_per_zone == math.ceil(600 / 0.8 / 100) == 8


rates = st.floats(min_value=0.5, max_value=1e6)
shares = st.floats(min_value=0, max_value=0.45)
margins = st.builds(
    CellMargins,
    limit_per_s=rates,
    degraded_loss=shares,
    moves_loss=shares,
    failover_s=st.floats(min_value=0, max_value=600),
    returning_share=st.floats(min_value=0, max_value=3),
    drain_s=st.floats(min_value=1, max_value=3_600),
)
outlooks = st.builds(
    Outlook,
    spread=st.floats(min_value=0, max_value=2),
    growth_per_day=st.floats(min_value=0, max_value=0.2),
    lead_days=st.floats(min_value=0, max_value=60),
)


@st.composite
def zone_shares(draw: st.DrawFn) -> tuple[float, ...]:
    parts = draw(st.lists(st.integers(1, 50), min_size=2, max_size=6))
    return tuple(part / sum(parts) for part in parts)


@st.composite
def tiers(draw: st.DrawFn) -> Tier:
    given_shares = draw(st.one_of(st.just(()), zone_shares()))
    return Tier(
        demand_per_s=draw(rates),
        process_per_s=draw(st.floats(min_value=10, max_value=1e5)),
        zones=len(given_shares) or draw(st.integers(2, 9)),
        utilisation=draw(st.floats(min_value=0.05, max_value=1)),
        missing=draw(st.integers(0, 3)),
        shares=given_shares,
    )


@given(margins, outlooks)
def test_no_margin_adds_capacity(one: CellMargins, outlook: Outlook) -> None:
    assert placed_per_s(one, outlook) <= one.carried_per_s <= one.worst_per_s <= one.limit_per_s


@given(margins, outlooks, st.floats(min_value=1, max_value=2))
def test_every_margin_only_ever_takes_away(one: CellMargins, outlook: Outlook, more: float) -> None:
    before = placed_per_s(one, outlook)
    worse = (
        (replace(one, degraded_loss=min(0.5, one.degraded_loss * more)), outlook),
        (replace(one, moves_loss=min(0.5, one.moves_loss * more)), outlook),
        (replace(one, failover_s=one.failover_s * more), outlook),
        (replace(one, returning_share=one.returning_share * more), outlook),
        (replace(one, drain_s=one.drain_s / more), outlook),
        (replace(one, limit_per_s=one.limit_per_s / more), outlook),
        (one, replace(outlook, spread=outlook.spread * more)),
        (one, replace(outlook, growth_per_day=outlook.growth_per_day * more)),
        (one, replace(outlook, lead_days=outlook.lead_days * more)),
    )
    assert all(placed_per_s(*two) <= before * (1 + 1e-12) for two in worse)


@given(rates, rates, st.integers(1, 5), st.floats(min_value=1, max_value=3))
def test_cells_carry_their_demand_with_the_spare_ones_left_out(
    demand: float, placed: float, spare: int, more: float
) -> None:
    assume(demand * more / placed <= SLOTS)
    cells = cells_for(demand, placed_per_s=placed, spare_cells=spare)
    assert (cells - spare) * placed >= demand * (1 - 1e-12)
    assert (cells - spare - 1) * placed < demand
    assert cells_for(demand * more, placed_per_s=placed, spare_cells=spare) >= cells
    assert cells_for(demand, placed_per_s=placed * more, spare_cells=spare) <= cells
    assert cells_for(demand, placed_per_s=placed, spare_cells=spare + 1) == cells + 1


@given(tiers())
def test_any_zone_may_go_and_pods_be_missing(tier: Tier) -> None:
    """Each zone is taken away in turn, and its traffic given to the others as it would be."""
    exact = [Fraction(repr(share)) for share in tier.shares] or [Fraction(1, tier.zones)] * tier.zones
    working = tier.processes_per_zone - tier.missing
    usable_per_s = working * Fraction(repr(tier.process_per_s)) * Fraction(repr(tier.utilisation))
    tightest = max(
        Fraction(repr(tier.demand_per_s)) * exact[zone] / (1 - exact[lost])
        for lost in range(tier.zones)
        for zone in range(tier.zones)
        if zone != lost
    )
    assert tightest <= usable_per_s, "the loss of a zone is not survived"
    one_less = (working - 1) * usable_per_s / working
    assert tightest > one_less, "more processes than the loss of a zone takes"
    assert tier.busiest_share(missing=tier.missing) <= tier.utilisation * (1 + 1e-12)


@given(tiers(), st.floats(min_value=1, max_value=3))
def test_more_demand_and_weaker_processes_take_more(tier: Tier, more: float) -> None:
    k = tier.processes_per_zone
    assert replace(tier, demand_per_s=tier.demand_per_s * more).processes_per_zone >= k
    assert replace(tier, process_per_s=tier.process_per_s * more).processes_per_zone <= k
    assert replace(tier, utilisation=tier.utilisation / more).processes_per_zone >= k
    assert replace(tier, missing=tier.missing + 1).processes_per_zone == k + 1
    if not tier.shares:
        assert replace(tier, zones=tier.zones + 1).processes_per_zone <= k


@given(tiers())
def test_every_day_is_below_the_ceiling(tier: Tier) -> None:
    if not tier.shares:
        assert tier.everyday_share <= utilisation_ceiling(tier.zones) * tier.utilisation * (1 + 1e-12)


@given(margins, outlooks, rates, st.integers(2, 6))
def test_nodes_hold_all_pods_of_a_zone(one: CellMargins, outlook: Outlook, demand: float, zones: int) -> None:
    wanted = Wanted(
        demand_per_s=demand,
        margins=replace(one, limit_per_s=max(one.limit_per_s, demand / 50)),
        outlook=outlook,
        api_process_per_s=1_000,
        router_process_per_s=3_000,
        zones=zones,
        sizes=Sizes(),
    )
    assume(demand / placed_per_s(wanted.margins, outlook) <= SLOTS)
    plan = plan_fleet(wanted)
    cores = plan.cells * plan.api.processes_per_zone + plan.routers.processes_per_zone + 2 * plan.databases_per_zone
    assert (plan.nodes_per_zone - wanted.sizes.missing_nodes) * 8 >= cores
    assert plan.databases_per_zone * zones >= plan.cells * min(zones, 3)
    assert plan.document()["cells"] == plan.cells


def wanted(**changed: object) -> Wanted:
    fields: dict[str, object] = {
        "demand_per_s": 8_000,
        "margins": MARGINS,
        "outlook": OUTLOOK,
        "api_process_per_s": 1_000,
        "router_process_per_s": 3_000,
    }
    return Wanted(**fields | changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nonsense", "told"),
    [
        (lambda: CellMargins(limit_per_s=-1), "limit_per_s (L) must be above 0"),
        (lambda: CellMargins(limit_per_s=math.nan), "limit_per_s (L) must be above 0"),
        (lambda: CellMargins(limit_per_s=math.inf), "limit_per_s (L)"),
        (lambda: replace(MARGINS, degraded_loss=1), "degraded_loss (δ) must be at least 0 and below 1"),
        (lambda: replace(MARGINS, moves_loss=-0.1), "moves_loss (m)"),
        (lambda: replace(MARGINS, degraded_loss=0.6, moves_loss=0.4), "below 1 together"),
        (lambda: replace(MARGINS, drain_s=0), "drain_s (D)"),
        (lambda: replace(MARGINS, failover_s=-1), "failover_s (F)"),
        (lambda: Outlook(growth_per_day=-0.5), "growth_per_day (g)"),
        (lambda: Outlook(growth_per_day=1e6, lead_days=1e6).factor, "beyond all bounds"),
        (lambda: plan_fleet(wanted(demand_per_s=0)), "demand_per_s (Λ)"),
        (lambda: plan_fleet(wanted(demand_per_s=1e11)), "no more than 16384 can have wallets"),
        (lambda: plan_fleet(wanted(spare_cells=0)), "spare_cells (S) must be at least 1"),
        (lambda: plan_fleet(wanted(zones=1)), "one zone cannot be lost"),
        (lambda: plan_fleet(wanted(zones=2, shares=(0.7, 0.2))), "must add up to 1"),
        (lambda: plan_fleet(wanted(zones=2, shares=(1.0, 0.0))), "no zone may have it all"),
        (lambda: plan_fleet(wanted(shares=(0.5, 0.5))), "a share for each of 3 zones"),
        (lambda: plan_fleet(wanted(utilisation=0)), "utilisation (u)"),
        (lambda: plan_fleet(wanted(utilisation=1.1)), "utilisation (u)"),
        (lambda: plan_fleet(wanted(missing=-1)), "missing (p)"),
        (lambda: Sizes(node_cores=0), "node_cores"),
        (lambda: utilisation_ceiling(1), "one zone cannot be lost"),
    ],
)
def test_nonsense_is_refused_in_words(nonsense: object, told: str) -> None:
    with pytest.raises(HeadroomMustBeSoundError) as refused:
        nonsense()  # type: ignore[operator]
    assert told in str(refused.value)
