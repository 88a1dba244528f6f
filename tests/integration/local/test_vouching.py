"""Who promoted a standby with other tools vouches for it by what a process remembers; a restore is found out."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from cell.closed import ClosedCell, OpeningRefusedError
from cell.ports import StoreLostError
from cell.quarantine import DatabaseWatch
from cell.store.migrate import migrate
from cell.vouching import PromotionDoubtedError, Vouched, vouch
from cellwallet.local.databases import CELL_APP, CELL_DATABASE, CELL_OWNER, provision_cell
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.standby import Standby, standing_by
from contract.quarantine import PromotionRecorded

ROOT = Path(__file__).parents[3]
DEADLINE_S = 30.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "postgres" / "cell-1", settings=THROWAWAY)
    cluster.start()
    provision_cell(cluster)
    migrate(cluster.url(CELL_OWNER, CELL_DATABASE))
    try:
        yield cluster
    finally:
        cluster.stop()


def app_url(cluster: Cluster) -> str:
    return cluster.url(CELL_APP, CELL_DATABASE)


def seen(cluster: Cluster, folder: Path) -> bool:
    """One look of an API process; whether the cell is closed then."""

    async def look() -> bool:
        watch = DatabaseWatch(app_url(cluster), state_dir=folder)
        try:
            await watch.remember()
        finally:
            await watch.close()
        return watch.is_quarantined

    return asyncio.run(look())


def vouched(cluster: Cluster, folder: Path, *, objections_s: float = 0.0) -> Vouched:
    return asyncio.run(vouch(app_url(cluster), state_dir=folder, connect_timeout_s=3, objections_s=objections_s))


def causes(cluster: Cluster) -> list[str]:
    with psycopg.connect(app_url(cluster), autocommit=True) as connection:
        return [cause for (cause,) in connection.execute("SELECT cause FROM quarantines WHERE opened_at IS NULL")]


def until_closed(cluster: Cluster, vouching: "Future[Vouched]") -> None:
    while True:
        with contextlib.suppress(
            psycopg.OperationalError
        ):  # whoever closes the cell ends all connections, ours as well
            if causes(cluster):
                return
        assert not vouching.done()


def promote(cluster: Cluster) -> None:
    """As another tool does it: nobody records anything."""
    with cluster.superuser() as connection:
        connection.execute("SELECT pg_promote()")


def test_a_promotion_by_another_tool_closes_the_cell_until_somebody_who_remembers_vouches_for_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    memory, other, nobody = tmp_path / "one", tmp_path / "other", tmp_path / "nobody"
    for _ in range(3):
        assert not seen(cluster, memory)
    with standing_by(cluster, tmp_path / "postgres" / "standby") as standby:
        assert not seen(cluster, memory)
        shutil.copytree(memory, other)
        cluster.stop()
        promote(standby)
        assert seen(standby, memory)
        assert causes(standby) == ["timeline_must_be_recorded"]
        with pytest.raises(PromotionDoubtedError, match="nobody here remembers"):
            vouched(standby, nobody)
        assert vouched(standby, memory).is_new
        assert not vouched(standby, nobody).is_new
        assert causes(standby) == []
        assert not seen(standby, memory)
        assert not seen(standby, nobody)
        # Another process saw a count that this database never reached: it is not told to be content.
        told = (other / "database_seen.json").read_text()
        (other / "database_seen.json").write_text(told.replace('"ticks": 4', '"ticks": 4000'))
        assert told != (other / "database_seen.json").read_text()
        assert seen(standby, other)
        assert causes(standby) == ["history_must_not_go_back"]
        assert not vouched(standby, memory).is_new
        assert causes(standby) == ["history_must_not_go_back"]


def test_a_backup_that_another_tool_restored_is_not_vouched_for(cluster: Cluster, tmp_path: Path) -> None:
    """A copy from before the last counts, on a timeline of its own: all that a promotion has, and less history."""
    memory = tmp_path / "state"
    assert not seen(cluster, memory)
    restored = Standby(cluster, tmp_path / "postgres" / "restored", name="restored")
    restored.prepare()
    for _ in range(2):
        assert not seen(cluster, memory)
    cluster.stop()
    restored.start()
    try:
        promote(restored)
        assert seen(restored, memory)
        with pytest.raises(PromotionDoubtedError, match="it lacks what was committed"):
            vouched(restored, memory)
        assert causes(restored) == ["history_must_not_go_back"]
    finally:
        restored.stop()


@contextlib.contextmanager
def promoted(cluster: Cluster, tmp_path: Path) -> Iterator[tuple[Cluster, Path, Path]]:
    """By another tool; and the memories of two processes, of which the second one saw what is not there any more."""
    memory, other = tmp_path / "one", tmp_path / "other"
    assert not seen(cluster, memory)
    with standing_by(cluster, tmp_path / "postgres" / "standby") as standby:
        assert not seen(cluster, memory)
        shutil.copytree(memory, other)
        told = (other / "database_seen.json").read_text()
        (other / "database_seen.json").write_text(told.replace('"ticks": 2', '"ticks": 30'))
        assert told != (other / "database_seen.json").read_text()
        cluster.stop()
        promote(standby)
        yield standby, memory, other


def test_who_remembers_more_objects_while_the_cell_is_closed(cluster: Cluster, tmp_path: Path) -> None:
    """A timeline has closed it already; nobody vouches for one that lacks what somebody saw."""
    with promoted(cluster, tmp_path) as (standby, memory, other):
        assert seen(standby, memory)
        assert causes(standby) == ["timeline_must_be_recorded"]
        assert seen(standby, other)
        assert causes(standby) == ["history_must_not_go_back"]
        with pytest.raises(PromotionDoubtedError, match="another reason than its timeline"):
            vouched(standby, memory)


def test_who_vouches_first_waits_for_those_who_remember_more(cluster: Cluster, tmp_path: Path) -> None:
    with promoted(cluster, tmp_path) as (standby, memory, other), ThreadPoolExecutor() as threads:
        vouching = threads.submit(vouched, standby, memory, objections_s=10.0)
        until_closed(standby, vouching)
        with contextlib.suppress(StoreLostError):  # whoever closes the cell ends all connections, ours as well
            seen(standby, other)
        assert seen(standby, other)
        with pytest.raises(PromotionDoubtedError, match="another reason than its timeline"):
            vouching.result(DEADLINE_S)


def test_mutant_who_waits_for_nobody_opens_a_cell_that_lacks_something(cluster: Cluster, tmp_path: Path) -> None:
    """For as long as it takes the other one to have its look."""
    with promoted(cluster, tmp_path) as (standby, memory, other):
        assert vouched(standby, memory, objections_s=0.0).is_new
        assert not seen(standby, memory)
        assert seen(standby, other)


def recorded(cluster: Cluster, folder: Path) -> PromotionRecorded:
    """As the control plane asks for it, which has ordered the promotion."""

    async def ask() -> PromotionRecorded:
        cell = ClosedCell(app_url(cluster), cell_id="cell-1", checkpoint_keys={}, state_dir=folder)
        try:
            return await cell.record_promotion()
        finally:
            await cell.close()

    return asyncio.run(ask())


def test_the_control_plane_is_answered_by_what_a_process_remembers(cluster: Cluster, tmp_path: Path) -> None:
    with promoted(cluster, tmp_path) as (standby, memory, _):
        with pytest.raises(OpeningRefusedError, match="nobody here remembers"):
            recorded(standby, tmp_path / "nobody")
        with pytest.raises(StoreLostError):
            recorded(cluster, memory)
        assert recorded(standby, memory) == PromotionRecorded(cell="cell-1", timeline=2, is_new=True)
        assert recorded(standby, memory) == PromotionRecorded(cell="cell-1", timeline=2, is_new=False)


ADJUDICATED = "SELECT record_adjudication(jsonb_build_object('units', %s::jsonb))"
MOVED = '[{"unit": 7, "verdict": "superseded", "cell": "cell-2", "epoch": 3}]'


def test_what_an_adjudication_has_found_nobody_vouches_away(cluster: Cluster, tmp_path: Path) -> None:
    """A memory may be a little too old to know of a unit that left; other cells do. Nor does asking twice help."""
    with promoted(cluster, tmp_path) as (standby, memory, _):
        assert seen(standby, memory)
        with standby.superuser(CELL_DATABASE) as connection:
            connection.execute(ADJUDICATED, [MOVED])
        with pytest.raises(PromotionDoubtedError, match="units were found to be elsewhere"):
            vouched(standby, memory)
        assert causes(standby) == ["timeline_must_be_recorded"]
        with standby.superuser(CELL_DATABASE) as connection:
            connection.execute(ADJUDICATED, ["[]"])  # the first one has put it right
        with pytest.raises(PromotionDoubtedError, match="units were found to be elsewhere"):
            vouched(standby, memory)


def test_an_adjudication_that_found_nothing_is_no_obstacle(cluster: Cluster, tmp_path: Path) -> None:
    with promoted(cluster, tmp_path) as (standby, memory, _):
        assert seen(standby, memory)
        with standby.superuser(CELL_DATABASE) as connection:
            connection.execute(ADJUDICATED, ["[]"])
        assert vouched(standby, memory).is_new


def test_mutant_who_does_not_ask_for_the_adjudication_vouches_it_away(cluster: Cluster, tmp_path: Path) -> None:
    with promoted(cluster, tmp_path) as (standby, memory, _):
        assert seen(standby, memory)
        with standby.superuser(CELL_DATABASE) as connection:
            connection.execute(ADJUDICATED, [MOVED])
            ((vouching,),) = connection.execute("SELECT pg_get_functiondef('vouch_for_promotion'::regproc)").fetchall()
            careless = vouching.replace("has_found_units", "false")
            assert careless != vouching
            connection.execute(careless)
        assert vouched(standby, memory).is_new


def test_the_command_tells_by_its_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    memory = tmp_path / "state"
    assert not seen(cluster, memory)
    with standing_by(cluster, tmp_path / "postgres" / "standby") as standby:
        assert not seen(cluster, memory)
        cluster.stop()
        promote(standby)
        assert record_promotion(standby, tmp_path / "nobody") == 1
        assert record_promotion(standby, memory) == 0
        assert record_promotion(standby, tmp_path / "nobody") == 0
        assert not seen(standby, tmp_path / "nobody")


def record_promotion(cluster: Cluster, state_dir: Path) -> int:
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("CELL_")},
        "CELL_ID": "cell-1",
        "CELL_ZONE": "a",
        "CELL_HOME_ZONE": "a",
        "CELL_PORT": "0",
        "CELL_ADMIN_PORT": "0",
        "CELL_DATABASE_URL": app_url(cluster),
        "CELL_STATE_DIR": str(state_dir),
        "CELL_SIGNING_KEY_FILE": str(state_dir / "nobody-reads-it.pem"),
        "CELL_CONTROL_PLANE_JWKS_FILE": str(state_dir / "nor-this.json"),
    }
    command = [sys.executable, "-m", "cell", "record-promotion"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, timeout=DEADLINE_S).returncode
