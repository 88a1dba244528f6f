"""Whom a request is sent to, or why not."""

from collections.abc import Callable

import pytest

from contract.directory import DirectoryDocument
from contract.ids import WalletId
from contract.reasons import Reason
from contract.slots import slot_of
from router.routing import choice
from router.routing.choice import GRACE_S, PROBE_S, Forward, Refuse, choose, choose_instances
from router.routing.directory import Directory, directory_of
from router.routing.health import CELL_LIMITS, INSTANCE_LIMITS, FleetHealth

MakeDocument = Callable[..., DirectoryDocument]
Choose = Callable[..., Forward | Refuse]

WALLET = WalletId("9f0c3f64-5717-4562-b3fc-2c963f66afa6")


@pytest.fixture
def directory(make_document: MakeDocument) -> Directory:
    return directory_of(make_document(epochs={slot_of(WALLET): 6}), own_zone="zone-1")


def broken(directory: Directory, now: float) -> FleetHealth:
    """The owner's breaker is open since `now`."""
    health = FleetHealth()
    owner = directory.owner_of(WALLET).cell
    assert owner is not None
    for _ in range(CELL_LIMITS.failures_max):
        health.cell(owner.id).breaker.failed(now)
    return health


def test_a_request_goes_to_the_owner(directory: Directory) -> None:
    owner = directory.owner_of(WALLET)
    assert owner.cell is not None
    chosen = choose(directory, WALLET, FleetHealth(), 0)
    assert chosen == Forward(
        cell=owner.cell, instances=owner.cell.instances_for(owner.bucket), promising=2, unit=slot_of(WALLET), epoch=6
    )


def test_nobody_is_guessed(make_document: MakeDocument) -> None:
    empty = directory_of(make_document().model_copy(update={"slots": ()}), own_zone="zone-1")
    refuse = choose(empty, WALLET, FleetHealth(), 0)
    assert isinstance(refuse, Refuse)
    assert (refuse.problem.reason, refuse.ask_again_at) == (Reason.CELL_MUST_BE_REACHABLE, None)


def test_a_cell_without_processes_is_out_of_reach(make_document: MakeDocument) -> None:
    directory = directory_of(make_document(instances=0), own_zone="zone-1")
    refuse = choose(directory, WALLET, FleetHealth(), 0)
    assert isinstance(refuse, Refuse)
    assert refuse.problem.reason is Reason.CELL_MUST_BE_REACHABLE


def check_the_bulkhead(choose_: Choose, directory: Directory) -> None:
    health = FleetHealth(in_flight_max=3)
    owner = directory.owner_of(WALLET).cell
    assert owner is not None
    health.cell(owner.id).in_flight = 2
    assert isinstance(choose_(directory, WALLET, health, 0), Forward)
    health.cell(owner.id).in_flight = 3
    refuse = choose_(directory, WALLET, health, 0)
    assert isinstance(refuse, choice.Refuse | choose_.__globals__["Refuse"])
    assert refuse.ask_again_at is None


def check_the_breaker(choose_: Choose, directory: Directory) -> None:
    health = broken(directory, now=100.0)
    refuse = choose_(directory, WALLET, health, 100.0)
    assert isinstance(refuse, choice.Refuse | choose_.__globals__["Refuse"])
    assert refuse.problem.reason is Reason.CELL_MUST_BE_REACHABLE
    assert isinstance(choose(directory, WALLET, health, 100.0 + CELL_LIMITS.cool_down_first_s), Forward)


CHECKS = {
    "if health.is_full:": check_the_bulkhead,
    "if not health.breaker.lets_through(now):": check_the_breaker,
}


@pytest.mark.parametrize("check", CHECKS.values())
def test_protection(check: Callable[[Choose, Directory], None], directory: Directory) -> None:
    check(choose, directory)


@pytest.mark.parametrize("line", CHECKS)
def test_mutant_without_protection_is_found(line: str, directory: Directory, mutant: Callable[..., object]) -> None:
    without = mutant(choice, line, "if False:")
    with pytest.raises(AssertionError):
        CHECKS[line](without.choose, directory)  # type: ignore[attr-defined]


def test_the_health_of_one_cell_says_nothing_about_another(directory: Directory, make_document: MakeDocument) -> None:
    health = broken(directory, now=0.0)
    owner = directory.owner_of(WALLET).cell
    for cell in directory.cells:
        expected = Refuse if cell == owner else Forward
        assert isinstance(choose_instances(cell, 0, health, 0.0), expected)


def test_a_cell_that_was_just_lost_is_worth_waiting_for(directory: Directory) -> None:
    health = broken(directory, now=100.0)
    refuse = choose(directory, WALLET, health, 100.01)
    assert isinstance(refuse, Refuse)
    assert refuse.ask_again_at == pytest.approx(100.0 + CELL_LIMITS.cool_down_first_s)
    assert refuse.retry_after_s == 1


def test_the_outcome_of_a_probe_is_near(directory: Directory) -> None:
    """A request whose deadline ends before the patience with the probe must not be refused for it."""
    health = broken(directory, now=100.0)
    owner = directory.owner_of(WALLET).cell
    assert owner is not None
    probed_at = 100.0 + CELL_LIMITS.cool_down_first_s
    health.cell(owner.id).breaker.sent(probed_at)
    refuse = choose(directory, WALLET, health, probed_at)
    assert isinstance(refuse, Refuse)
    assert refuse.ask_again_at == pytest.approx(probed_at + PROBE_S)
    assert CELL_LIMITS.probe_patience_s > PROBE_S


def test_a_cell_that_is_lost_for_long_is_not(directory: Directory) -> None:
    health = broken(directory, now=100.0)
    owner = directory.owner_of(WALLET).cell
    assert owner is not None
    breaker = health.cell(owner.id).breaker
    while breaker.cool_at < 100.0 + GRACE_S:
        breaker.sent(breaker.cool_at)
        breaker.failed(breaker.cool_at)
    refuse = choose(directory, WALLET, health, 100.0 + GRACE_S)
    assert isinstance(refuse, Refuse)
    assert refuse.ask_again_at is None


def test_an_instance_behind_an_open_breaker_comes_last(directory: Directory) -> None:
    health = FleetHealth()
    first = choose(directory, WALLET, health, 0.0)
    assert isinstance(first, Forward)
    best, second = first.instances
    for _ in range(INSTANCE_LIMITS.failures_max):
        health.cell(first.cell.id).instance(best.url).failed(0.0)
    now = choose(directory, WALLET, health, 0.0)
    assert isinstance(now, Forward)
    assert (now.instances, now.promising) == ((second, best), 1)
    cooled = choose(directory, WALLET, health, INSTANCE_LIMITS.cool_down_first_s)
    assert isinstance(cooled, Forward)
    assert (cooled.instances, cooled.promising) == ((best, second), 2)


def test_choosing_changes_nothing(directory: Directory) -> None:
    health = broken(directory, now=0.0)
    states = [(cell.breaker.state, cell.in_flight) for cell in health.cells.values()]
    for now in (0.0, 1.0, 10.0):
        choose(directory, WALLET, health, now)
    assert [(cell.breaker.state, cell.in_flight) for cell in health.cells.values()] == states


def test_cells_that_left_the_map_are_forgotten() -> None:
    health = FleetHealth()
    health.cell("a").instance("http://a1")
    health.cell("a").instance("http://a2")
    health.cell("gone")
    health.cell("busy").in_flight = 1
    health.forget_all_but({"a": frozenset({"http://a2"})})
    assert set(health.cells) == {"a", "busy"}
    assert set(health.cells["a"].instances) == {"http://a2"}
