"""What every store of a fleet promises: PostgreSQL, and the memory that the tests of the pure core stand on."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import pytest
from fleet_world import NOON, MemoryFleet, instance, seeing

from contract.directory import ApiInstance
from contract.fleet import Registration
from contract.ids import CellId
from control_plane.fleet.configuration import ConfigurationPublication, next_configuration
from control_plane.fleet.model import Fleet, Instance, Policy
from control_plane.fleet.placement import Share
from control_plane.fleet.publish import Publication, UnitChange, directory_of, next_publication
from control_plane.store.cells import change_state, forget_instance, register
from control_plane.store.database import Database, open_database
from control_plane.store.documents import publish_configuration, publish_directory
from control_plane.store.fleet import load
from control_plane.store.units import assign_first_units

HALVES = (Share(cell=CellId("a"), first=0, last=8191), Share(cell=CellId("b"), first=8192, last=16383))


class FleetStore(Protocol):
    async def fleet(self) -> Fleet: ...

    async def register(self, cell: str, new: Instance) -> bool: ...

    async def assign_first_units(self, shares: tuple[Share, ...]) -> bool: ...

    async def change_state(self, cell: CellId, *, seen: Any, following: Any) -> bool: ...

    async def forget_instance(self, cell: CellId, dead: Instance) -> bool: ...

    async def publish_directory(self, publication: Publication) -> bool: ...

    async def publish_configuration(self, publication: ConfigurationPublication) -> bool: ...


class _Memory:
    def __init__(self) -> None:
        self._store = MemoryFleet()

    async def fleet(self) -> Fleet:
        return self._store.fleet

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            return getattr(self._store, name)(*arguments, **named)

        return call


class _Postgres:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def fleet(self) -> Fleet:
        async with self._database.snapshot() as connection:
            return (await load(connection)).fleet

    async def register(self, cell: str, new: Instance) -> bool:
        registration = Registration(
            id=cell,
            home_zone="zone-a",
            instance=ApiInstance(url=new.url, zone=new.zone),
            admin_url=new.admin_url,
            schema_revision=new.schema_revision,
            software_version=new.software_version,
        )
        async with self._database.transaction() as connection:
            return await register(connection, registration) == "alive"

    async def assign_first_units(self, shares: tuple[Share, ...]) -> bool:
        async with self._database.transaction() as connection:
            return await assign_first_units(connection, shares)

    async def change_state(self, cell: CellId, *, seen: Any, following: Any) -> bool:
        async with self._database.transaction() as connection:
            return await change_state(connection, cell, seen=seen, following=following)

    async def forget_instance(self, cell: CellId, dead: Instance) -> bool:
        async with self._database.transaction() as connection:
            return await forget_instance(connection, cell, dead)

    async def publish_directory(self, publication: Publication) -> bool:
        async with self._database.transaction() as connection:
            return await publish_directory(connection, publication, publication.document.model_dump_json())

    async def publish_configuration(self, publication: ConfigurationPublication) -> bool:
        async with self._database.transaction() as connection:
            return await publish_configuration(connection, publication, publication.document.model_dump_json())


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[FleetStore]:
    if request.param == "memory":
        yield _Memory()
        return
    database = open_database(request.getfixturevalue("database_url"))
    yield _Postgres(database)
    await database.close()


@pytest.fixture
async def assigned(store: FleetStore) -> FleetStore:
    for cell in ("a", "b"):
        await store.register(cell, instance(cell))
        await store.change_state(CellId(cell), seen="registered", following="active")
    await store.assign_first_units(HALVES)
    return store


async def publication_of(store: FleetStore, *, now: datetime = NOON) -> Publication:
    following = next_publication(await store.fleet(), now)
    assert isinstance(following, Publication)
    return following


async def test_a_cell_is_known_by_its_first_registration_and_keeps_one_row_per_process(store: FleetStore) -> None:
    for number in (2, 1, 2):
        assert await store.register("a", instance("a", number=number))
    (cell,) = (await store.fleet()).cells
    assert (cell.id, cell.state) == ("a", "registered")
    assert [one.url for one in cell.instances] == ["http://a-1:8080", "http://a-2:8080"]


async def test_a_registration_updates_what_it_says(store: FleetStore) -> None:
    await store.register("a", instance("a"))
    await store.register("a", instance("a", revision="0002"))
    (cell,) = (await store.fleet()).cells
    assert [one.schema_revision for one in cell.instances] == ["0002"]


async def test_a_retired_cell_does_not_register_again(store: FleetStore) -> None:
    await store.register("a", instance("a"))
    await store.change_state(CellId("a"), seen="registered", following="retired")
    assert not await store.register("a", instance("a"))


async def test_cells_come_in_id_order(store: FleetStore) -> None:
    for cell in ("c", "a", "b"):
        await store.register(cell, instance(cell))
    assert [cell.id for cell in (await store.fleet()).cells] == ["a", "b", "c"]


async def test_a_state_changes_only_from_the_one_that_was_seen(store: FleetStore) -> None:
    await store.register("a", instance("a"))
    assert await store.change_state(CellId("a"), seen="registered", following="ready")
    assert not await store.change_state(CellId("a"), seen="registered", following="ready")
    assert not await store.change_state(CellId("b"), seen="registered", following="ready")
    assert [cell.state for cell in (await store.fleet()).cells] == ["ready"]


async def test_an_instance_that_showed_itself_again_is_not_forgotten(store: FleetStore) -> None:
    await store.register("a", instance("a"))
    (before,) = (await store.fleet()).cells
    await store.register("a", instance("a", seen_at=NOON + timedelta(seconds=1)))
    assert not await store.forget_instance(before.id, before.instances[0])
    (after,) = (await store.fleet()).cells
    assert await store.forget_instance(after.id, after.instances[0])
    assert _instances(await store.fleet()) == ()


async def test_units_are_assigned_once(assigned: FleetStore) -> None:
    runs = (await assigned.fleet()).runs
    assert [(run.cell, run.first, run.last, run.epoch) for run in runs] == [("a", 0, 8191, 1), ("b", 8192, 16383, 1)]
    assert not await assigned.assign_first_units((Share(cell=CellId("b"), first=0, last=16383),))
    assert (await assigned.fleet()).runs == runs


async def test_a_directory_is_published_right_after_the_one_that_was_seen(assigned: FleetStore) -> None:
    first = await publication_of(assigned)
    assert await assigned.publish_directory(first)
    assert not await assigned.publish_directory(first)
    assert (await assigned.fleet()).directory == first.document
    await assigned.register("a", instance("a", number=2))
    one, other = [await publication_of(assigned, now=NOON + timedelta(seconds=pause)) for pause in (1, 2)]
    assert await assigned.publish_directory(one)
    assert not await assigned.publish_directory(other)
    assert (await assigned.fleet()).directory == one.document


async def test_a_document_that_shows_other_owners_is_not_published(assigned: FleetStore) -> None:
    fleet = await assigned.fleet()
    stolen = replace(fleet, runs=(replace(fleet.runs[0], cell=CellId("b")), fleet.runs[1]))
    document = directory_of(stolen, NOON)
    assert not await assigned.publish_directory(Publication(document=document, after=None))
    assert (await assigned.fleet()).directory is None


def _moved(fleet: Fleet, *, from_epoch: int = 1) -> Publication:
    """Unit 0 goes from a to b, in the same breath as the directory that says so."""
    change = UnitChange(unit=0, from_epoch=from_epoch, cell="b", epoch=from_epoch + 1, is_moving=False)
    runs = (
        replace(fleet.runs[0], last=0, cell=CellId("b"), epoch=from_epoch + 1),
        replace(fleet.runs[0], first=1),
        fleet.runs[1],
    )
    after = fleet.directory.version if fleet.directory else None
    return Publication(document=directory_of(replace(fleet, runs=runs), NOON), after=after, changes=(change,))


async def test_units_change_with_the_publication_that_shows_it(assigned: FleetStore) -> None:
    assert await assigned.publish_directory(await publication_of(assigned))
    assert await assigned.publish_directory(_moved(await assigned.fleet()))
    fleet = await assigned.fleet()
    assert [(run.cell, run.first, run.last, run.epoch) for run in fleet.runs] == [
        ("b", 0, 0, 2),
        ("a", 1, 8191, 1),
        ("b", 8192, 16383, 1),
    ]
    assert fleet.directory is not None
    assert fleet.directory.epochs == {0: 2}


async def test_a_change_from_another_epoch_changes_nothing(assigned: FleetStore) -> None:
    before = await assigned.fleet()
    assert not await assigned.publish_directory(_moved(before, from_epoch=2))
    assert await assigned.fleet() == before


async def test_changes_that_the_document_does_not_show_are_taken_back(assigned: FleetStore) -> None:
    before = await assigned.fleet()
    silent = replace(_moved(before), document=directory_of(before, NOON))
    assert not await assigned.publish_directory(silent)
    assert await assigned.fleet() == before


async def test_a_configuration_is_published_right_after_the_one_that_was_seen(store: FleetStore) -> None:
    await store.register("a", instance("a"))
    first = await _configuration_of(store)
    assert await store.publish_configuration(first)
    assert not await store.publish_configuration(first)
    await store.register("a", instance("a", number=2))
    one, other = [await _configuration_of(store, now=NOON + timedelta(seconds=pause)) for pause in (1, 2)]
    assert await store.publish_configuration(one)
    assert not await store.publish_configuration(other)
    assert (await store.fleet()).configurations == {"a": one.document}


async def _configuration_of(store: FleetStore, *, now: datetime = NOON) -> ConfigurationPublication:
    fleet = await store.fleet()
    following = next_configuration(fleet.cells[0], fleet, seeing(listening_since=now), Policy(), now)
    assert following is not None
    return following


def _instances(fleet: Fleet) -> tuple[Instance, ...]:
    return tuple(one for cell in fleet.cells for one in cell.instances)
