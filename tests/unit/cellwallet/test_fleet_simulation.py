"""The simulated fleet: the same seed gives the same days, nothing is lost, and the real plan keeps it even."""

from itertools import islice

from cellwallet.fleet_simulation.loads import Demand, Traffic
from cellwallet.fleet_simulation.run import Look, Settings, Simulation
from cellwallet.fleet_simulation.summary import summary_of
from contract.slots import SLOTS

SMALL = Settings(cells=4, days=1, limit_per_s=400.0, seed=7, demand=Demand(wallets=10_000, rate_per_s=700.0))


def days_of(settings: Settings) -> list[Look]:
    return list(Simulation(settings).looks())


def test_the_same_seed_gives_the_same_days_and_another_one_others() -> None:
    assert days_of(SMALL) == days_of(SMALL)
    other = Settings(cells=4, days=1, limit_per_s=400.0, seed=8, demand=SMALL.demand)
    assert days_of(SMALL) != days_of(other)


def test_every_slot_has_a_cell_whatever_comes_and_goes() -> None:
    simulation = Simulation(SMALL)
    for _ in simulation.looks():
        owned = [unit for holder in simulation._holders.values() for unit in holder.units if unit < SLOTS]
        assert sorted(owned) == list(range(SLOTS))


def test_a_cell_leaves_half_way_and_cells_come_as_traffic_grows() -> None:
    growing = Settings(cells=4, days=3, limit_per_s=400.0, seed=7, demand=Demand(rate_per_s=700.0, growth_per_day=0.25))
    looks = days_of(growing)
    summary = summary_of(looks)
    assert summary.cells_last > summary.cells_first
    assert summary.units_per_day > 0
    assert all(look.busiest < 1 for look in looks), "no cell is ever beyond what it was certified for"


def test_traffic_is_conserved_when_a_wallet_is_isolated() -> None:
    traffic = Traffic(Demand(), seed=1)
    before = sum(load.rate_per_s for load in traffic.units(day=0, hour=9).values())
    traffic.isolate("hot-00", unit=70_000)
    loads = traffic.units(day=0, hour=9)
    assert abs(sum(load.rate_per_s for load in loads.values()) - before) < 1e-6 * before
    assert loads[70_000].rate_per_s > 100


def test_a_simulation_can_be_left_at_any_look() -> None:
    assert len(list(islice(Simulation(SMALL).looks(), 3))) == 3
