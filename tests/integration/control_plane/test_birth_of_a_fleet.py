"""From nothing to a published directory: register, preflight, share the slots, confirm, publish."""

from admin_cell import NewCell
from running_platform import RunningPlatform, until

from contract.directory import DirectoryDocument
from contract.signing import public_keys_of, verify


async def test_the_first_cells_share_all_slots(platform: RunningPlatform, new_cell: NewCell) -> None:
    cells = {name: await new_cell(name) for name in ("cell-b", "cell-a")}
    assert (await platform.get("/v1/directory")).json()["reason"] == "directory_must_be_published"
    for name, cell in cells.items():
        assert (await platform.register(name, cell.admin_url)).status_code == 200

    signed = await until(platform.directory)

    document = DirectoryDocument.model_validate(verify(signed, public_keys_of(platform.keys.own_jwks())))
    assert document.slots == ((8192, "cell-a"), (8192, "cell-b"))
    assert {name: cell.adopted.runs for name, cell in cells.items() if cell.adopted} == {
        "cell-a": ((0, 8191),),
        "cell-b": ((8192, 16383),),
    }
    assert await platform.states() == {"cell-a": "active", "cell-b": "active"}
    assert (await platform.get("/v1/cells/cell-a")).json()["units"] == 8192


async def test_one_cell_alone_waits_for_the_others(platform: RunningPlatform, new_cell: NewCell) -> None:
    cell = await new_cell("cell-1")
    await platform.register("cell-1", cell.admin_url)
    await until(lambda: _is_state(platform, "cell-1", "ready"))
    await until(lambda: _is_waiting(platform, "first_cells_must_be_ready", "fleet"))
    assert cell.puts == []


async def test_a_later_cell_stays_ready_and_empty(born: RunningPlatform, new_cell: NewCell) -> None:
    before = await until(born.directory)
    late = await new_cell("cell-0")
    await born.register("cell-0", late.admin_url)
    following = await until(lambda: born.directory(newer_than=before["version"]))
    assert following["slots"] == before["slots"]
    assert following["cells"]["cell-0"]["state"] == "ready"
    assert following["previous_version"] == before["version"]
    await until(lambda: _is_waiting(born, "units_must_arrive_by_moves", "cell-0"))
    assert late.puts == []


async def test_a_cell_whose_admin_api_is_another_cells_does_not_become_ready(
    platform: RunningPlatform, new_cell: NewCell
) -> None:
    """Ports are used again: who answers there may be somebody else."""
    other = await new_cell("cell-2")
    await platform.register("cell-1", other.admin_url)
    await until(lambda: _is_waiting(platform, "admin_must_be_reachable", "cell-1"))
    assert await platform.states() == {"cell-1": "registered"}


async def test_a_cell_with_an_unknown_schema_waits(born: RunningPlatform, new_cell: NewCell) -> None:
    cell = await new_cell("cell-3")
    await born.register("cell-3", cell.admin_url, schema_revision="0099")
    await until(lambda: _is_waiting(born, "schema_revision_must_be_known", "cell-3"))
    assert (await born.states())["cell-3"] == "registered"


async def test_one_cell_with_a_useless_address_does_not_stop_the_others(
    platform: RunningPlatform, new_cell: NewCell
) -> None:
    useless = ("http://256.256.256.256", "http://xn--a", "http://[::::]", "http://[ffff:1]:1")
    for number, url in enumerate(useless):
        assert (await platform.register(f"bad-{number}", url)).status_code == 200
    for name in ("cell-1", "cell-2"):
        await platform.register(name, (await new_cell(name)).admin_url)
    await until(platform.directory)
    waiting = await platform.waiting()
    assert {("admin_must_be_reachable", f"bad-{number}") for number in range(len(useless))} <= waiting


async def _is_waiting(platform: RunningPlatform, reason: str, subject: str) -> bool:
    return (reason, subject) in await platform.waiting()


async def _is_state(platform: RunningPlatform, cell: str, state: str) -> bool:
    return (await platform.states())[cell] == state
