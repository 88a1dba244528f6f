"""The supervisor with real processes: order, readiness, what is started again, and that nothing outlives it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from cellwallet.local.parts import Condition, Database, Part, Service, Task
from cellwallet.local.postgres import THROWAWAY, Cluster, DataMustFitError
from cellwallet.local.probe import get
from cellwallet.local.processes import identity_of
from cellwallet.local.supervisor import START_ATTEMPTS_MAX, PartMustStartError, RunningPart, Supervisor

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 20.0

SERVER = textwrap.dedent(
    """
    import http.server, os, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = str(os.getpid()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *arguments): pass
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """
)

SLOW_END = "import signal, time; signal.signal(15, lambda *_: (time.sleep(0.5), exit()))\nimport http"


async def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s until {what}"
        await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class World:
    """A supervisor, the parts it is given, and every change in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.changes: list[tuple[str, str]] = []
        self.supervisor = Supervisor(self._observe)

    def _observe(self, running: RunningPart) -> None:
        self.changes.append((running.part.name, running.state))

    def server(self, name: str, *, needs: tuple[str, ...] = (), stop_rank: int = 0) -> Service:
        port = free_port()
        return Service(
            name=name,
            command=(sys.executable, "-c", SERVER, str(port)),
            environment={},
            log=self.folder / f"{name}.log",
            ready_url=f"http://127.0.0.1:{port}/readyz",
            needs=needs,
            stop_rank=stop_rank,
        )

    def slow_to_end(self, name: str) -> Service:
        port = free_port()
        return Service(
            name=name,
            command=(sys.executable, "-c", SERVER.replace("import http", SLOW_END, 1), str(port)),
            environment={},
            log=self.folder / f"{name}.log",
            ready_url=f"http://127.0.0.1:{port}/readyz",
        )

    def broken_server(self, name: str, program: str) -> Service:
        return Service(
            name=name,
            command=(sys.executable, "-c", program),
            environment={},
            log=self.folder / f"{name}.log",
            ready_url=f"http://127.0.0.1:{free_port()}/readyz",
        )

    def task(self, name: str, program: str, *, needs: tuple[str, ...] = ()) -> Task:
        return Task(
            name=name,
            command=(sys.executable, "-c", program),
            environment={"TOLD": "something"},
            log=self.folder / f"{name}.log",
            needs=needs,
        )

    async def start(self, *parts: Part) -> None:
        self.supervisor.add(parts)
        await self.supervisor.wait_until_ready(timeout_s=DEADLINE_S)

    def pid(self, name: str) -> int:
        pid = self.supervisor.parts[name].pid
        assert pid is not None
        return pid

    async def kill(self, name: str) -> None:
        """And wait until there is another one, ready."""
        killed = self.pid(name)
        os.kill(killed, signal.SIGKILL)
        running = self.supervisor.parts[name]
        await wait_until(lambda: running.pid not in {None, killed} and running.state == "ready", f"{name} is back")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.supervisor.stop_now()
    await world.supervisor.stop()


def answer_of(service: Service) -> bytes | None:
    answer = get(service.ready_url)
    return answer.body if answer else None


async def test_parts_start_when_what_they_need_is_ready(world: World) -> None:
    told = "import os; open(os.environ['HOME_OF_TEST'] + '/told', 'w').write(os.environ['TOLD'])"
    first = world.server("first")
    task = world.task("task", told.replace("os.environ['HOME_OF_TEST']", repr(str(world.folder))), needs=("first",))
    await world.start(world.server("last", needs=("task",)), task, first)
    assert [change for change in world.changes if change[1] != "waiting"] == [
        ("first", "starting"),
        ("first", "ready"),
        ("task", "starting"),
        ("task", "ready"),
        ("last", "starting"),
        ("last", "ready"),
    ]
    assert (world.folder / "told").read_text() == "something"


async def test_only_what_dies_is_started_again_and_at_the_same_place(world: World) -> None:
    one, other = world.server("one"), world.server("other")
    await world.start(one, other)
    before = {name: world.pid(name) for name in ("one", "other")}
    await world.kill("one")
    assert world.pid("other") == before["other"]
    assert await asyncio.to_thread(answer_of, one) == str(world.pid("one")).encode()
    assert world.supervisor.parts["one"].restarts == 1
    assert world.supervisor.parts["other"].restarts == 0
    assert "ended by SIGKILL" in one.log.read_text()


async def test_postgres_is_started_again_with_its_data(world: World) -> None:
    cluster = Cluster(world.folder / "cluster", log=world.folder / "postgres.log", settings=THROWAWAY)
    provisioned: list[Cluster] = []

    def provision(cluster: Cluster) -> None:
        provisioned.append(cluster)
        cluster.ensure_role("someone")
        cluster.ensure_database("theirs", owner="someone")

    await world.start(Database(name="postgres", cluster=cluster, provision=provision))
    await world.kill("postgres")
    with cluster.superuser("theirs") as connection:
        assert connection.execute("SELECT current_database()::text").fetchone() == ("theirs",)
    assert provisioned == [cluster]


async def test_a_database_that_cannot_be_provisioned_stops_the_start(world: World) -> None:
    cluster = Cluster(world.folder / "cluster", settings=THROWAWAY)
    broken = Database(name="postgres", cluster=cluster, provision=lambda cluster: cluster.run_script("CREATE NONSENSE"))
    with pytest.raises(PartMustStartError, match="NONSENSE"):
        await world.start(broken)


async def test_a_task_that_fails_stops_the_start_and_says_why(world: World) -> None:
    with pytest.raises(PartMustStartError, match=r"(?s)migration ended with exit code 1.*no such table"):
        await world.start(world.task("migration", "raise SystemExit('no such table')"))


async def test_a_service_that_never_gets_ready_is_tried_a_few_times_and_then_reported(world: World) -> None:
    program = "print('port is taken', flush=True); raise SystemExit(3)"
    with pytest.raises(PartMustStartError, match=r"(?s)broken does not start.*port is taken"):
        await world.start(world.broken_server("broken", program))
    log = (world.folder / "broken.log").read_text()
    assert log.count("ended with exit code 3") == START_ATTEMPTS_MAX


async def test_what_hangs_is_named_when_time_is_up(world: World) -> None:
    async def never() -> str:
        return "the stars must align"

    world.supervisor.add(
        [world.broken_server("slow", "import signal; signal.pause()"), Condition(name="stars", why_not=never)]
    )
    with pytest.raises(PartMustStartError, match="not ready in 1 s: slow, the stars must align"):
        await world.supervisor.wait_until_ready(timeout_s=1)


async def test_a_start_is_patient_with_what_it_can_go_on_without(world: World) -> None:
    is_there = asyncio.Event()

    async def stars() -> str | None:
        return None if is_there.is_set() else "the stars must align"

    asyncio.get_running_loop().call_later(0.3, is_there.set)
    world.supervisor.add([world.server("one"), Condition(name="stars", why_not=stars, patience_s=DEADLINE_S)])
    assert await world.supervisor.wait_until_ready(timeout_s=DEADLINE_S) == []
    assert is_there.is_set()


async def test_a_start_tells_what_it_goes_on_without(world: World) -> None:
    async def never() -> str:
        return "the stars must align"

    def spare() -> bool:
        return True

    waiting = Database(
        name="spare",
        cluster=Cluster(world.folder / "spare"),
        provision=Cluster.is_ready,
        choose=asyncio.Event().wait,  # type: ignore[arg-type] - nothing may ever run there
        is_spare=spare,
    )
    world.supervisor.add([world.server("one"), Condition(name="stars", why_not=never, patience_s=0.3), waiting])
    (missing,) = await world.supervisor.wait_until_ready(timeout_s=DEADLINE_S)
    assert (missing.part.name, missing.missing) == ("stars", "the stars must align")


async def test_a_spare_that_cannot_start_is_tried_again_and_ends_nothing(world: World) -> None:
    """Its folder is a file at first."""
    folder = world.folder / "spare"
    folder.write_text("")
    spare = Database(
        name="spare",
        cluster=Cluster(folder, log=world.folder / "spare.log", settings=THROWAWAY),
        provision=Cluster.is_ready,
        is_spare=lambda: True,
    )
    await world.start(world.server("one"), spare)
    running = world.supervisor.parts["spare"]
    await wait_until(lambda: running.restarts > 1, "it is tried again")
    assert str(folder) in running.missing
    folder.unlink()
    await wait_until(running.became_ready.is_set, "it is ready")
    assert running.missing == ""


async def test_a_spare_whose_data_are_those_of_another_role_ends_the_start(world: World) -> None:
    async def refuse() -> Cluster:
        raise DataMustFitError("a person must look")

    cluster = Cluster(world.folder / "spare")
    spare = Database(name="spare", cluster=cluster, provision=Cluster.is_ready, choose=refuse, is_spare=lambda: True)
    with pytest.raises(PartMustStartError, match="a person must look"):
        await world.start(world.server("one"), spare)


async def test_parts_stop_by_rank_and_databases_last(world: World) -> None:
    cluster = Cluster(world.folder / "cluster", settings=THROWAWAY)
    database = Database(name="postgres", cluster=cluster, provision=Cluster.is_ready)
    await world.start(database, world.server("inner", stop_rank=1), world.server("outer"))
    pids = [world.pid(name) for name in ("postgres", "inner", "outer")]
    await world.supervisor.stop()
    stopped = [name for name, state in world.changes if state == "stopped"]
    assert stopped == ["outer", "inner", "postgres"]
    assert [identity_of(pid) for pid in pids] == [None, None, None]
    assert "database system is shut down" in cluster.log.read_text()


async def test_stopping_at_once_waits_for_nobody(world: World) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    )
    world.supervisor.add([world.broken_server("deaf", deaf)])
    log = world.folder / "deaf.log"
    await wait_until(lambda: log.exists() and "deaf" in log.read_text(), "it is deaf")
    stopping = asyncio.create_task(world.supervisor.stop())
    await asyncio.sleep(0)
    world.supervisor.stop_now()
    await asyncio.wait_for(stopping, DEADLINE_S / 2)


async def test_parts_may_be_added_while_others_run(world: World) -> None:
    await world.start(world.server("one"))
    pid = world.pid("one")
    world.supervisor.add([world.server("two", needs=("one",))])
    await world.supervisor.wait_until_ready(["two"], timeout_s=DEADLINE_S)
    assert world.pid("one") == pid


async def test_parts_may_leave_while_others_run(world: World) -> None:
    await world.start(world.server("stays"), world.server("leaves", stop_rank=1), world.server("leaves-first"))
    before, leaving = world.pid("stays"), [world.pid(name) for name in ("leaves", "leaves-first")]
    await world.supervisor.remove(["leaves", "leaves-first"])
    assert [identity_of(pid) for pid in leaving] == [None, None]
    assert [name for name, state in world.changes if state == "stopped"] == ["leaves-first", "leaves"]
    assert list(world.supervisor.parts) == ["stays"]
    assert world.pid("stays") == before, "nobody brings back what left, and nobody else is touched"


@pytest.mark.parametrize("ahead_s", [0.0, 0.02, 0.1, 0.3])
async def test_a_part_that_leaves_while_it_is_replaced_is_gone(world: World, ahead_s: float) -> None:
    """As when a cell is halted in the middle of a rollout: whoever of the two is first."""
    served = world.server("server")
    slow = world.slow_to_end("slow")
    await world.start(served, slow)
    replacing = asyncio.create_task(world.supervisor.replace(served))
    await asyncio.sleep(ahead_s)
    await world.supervisor.remove(["server", "slow"])
    await replacing
    await asyncio.sleep(0.3)  # whoever was begun has answered by then
    assert world.supervisor.parts == {}
    assert answer_of(served) is None
    await world.supervisor.replace(served)
    await world.supervisor.remove(["server", "slow"])
    assert world.supervisor.parts == {}, "nobody brings back what has left"


async def test_mutant_without_its_turn_a_part_that_left_runs_on_and_nobody_knows_it(world: World) -> None:
    world.supervisor._changing = defaultdict(contextlib.nullcontext)
    served = world.server("server")
    await world.start(served, world.slow_to_end("slow"))
    running = world.supervisor.parts["server"]
    replacing = asyncio.create_task(world.supervisor.replace(served))
    await world.supervisor.remove(["server", "slow"])
    await replacing
    try:
        assert world.supervisor.parts == {}
        await wait_until(lambda: answer_of(served) is not None, "it answers")
    finally:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        assert running.child is not None
        await running.child.stop(signal.SIGKILL, patience_s=DEADLINE_S)


async def test_nothing_outlives_a_killed_supervisor(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from cellwallet.local.parts import Service
        from cellwallet.local.supervisor import Supervisor
        async def main():
            supervisor = Supervisor(lambda running: None)
            ignoring = (
                "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); signal.pause()"
            )
            supervisor.add([Service(name="child", command=(sys.executable, "-c", ignoring), environment={},
                                    log=Path(sys.argv[1]), ready_url="http://127.0.0.1:1/")])
            while not supervisor.parts["child"].pid:
                await asyncio.sleep(0.01)
            print(supervisor.parts["child"].pid, flush=True)
            await asyncio.Event().wait()
        asyncio.run(main())
        """
    )
    log = tmp_path / "child.log"
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(log), stdout=asyncio.subprocess.PIPE, cwd=REPOSITORY
    )
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.readline())
    await wait_until(lambda: log.exists() and "on" in log.read_text(), "the child runs")
    supervisor.kill()
    await supervisor.communicate()
    await wait_until(lambda: identity_of(pid) is None, "the child ends with the supervisor")
