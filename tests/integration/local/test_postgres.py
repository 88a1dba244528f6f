"""One embedded PostgreSQL: what survives, who owns it, and what a start finds and ends."""

import os
import pwd
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from cellwallet.local.identity import PostgresMustRunUnprivilegedError, leashed
from cellwallet.local.postgres import THROWAWAY, Cluster
from cellwallet.local.processes import processes_in

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")

REPOSITORY = Path(__file__).parents[3]
DEADLINE_S = 20.0


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s until {what}"
        time.sleep(0.01)


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user can enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="cellwallet-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path / "cluster", settings=THROWAWAY)
    yield cluster
    cluster.stop(signal.SIGQUIT)


def python_for_everybody() -> str:
    """Ours, or the system's where ours lies in a folder of root alone."""
    version = "import sys; print(sys.version_info[:2])"
    for python in (sys.executable, "/usr/bin/python3"):
        command = ["/bin/sh", "-c", 'exec "$0" "$@"', python, "-c", version]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, user=1, group=1, extra_groups=[])
        if answer.stdout.strip() == str(sys.version_info[:2]):
            return python
    pytest.skip(f"no Python {sys.version_info[:2]} that every user may run")


def remember(cluster: Cluster, number: int) -> None:
    with cluster.superuser() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS numbers (number int)")
        connection.execute("INSERT INTO numbers VALUES (%s)", [number])


def remembered(cluster: Cluster) -> list[int]:
    with cluster.superuser() as connection:
        return [number for (number,) in connection.execute("SELECT number FROM numbers ORDER BY 1").fetchall()]


def test_a_cluster_is_as_it_should_be(cluster: Cluster) -> None:
    cluster.start()
    with cluster.superuser() as connection:
        found = connection.execute(
            "SELECT current_setting('listen_addresses'), current_setting('data_checksums'),"
            " current_setting('server_encoding'), current_setting('synchronous_commit'), crc32('123456789'),"
            " current_setting('TimeZone'), 'é' < 'z'"
        ).fetchone()
    assert found == ("", "on", "UTF8", "on", 0xCBF43926, "UTC", False)
    assert cluster.socket_folder.stat().st_mode & 0o777 == 0o700
    assert cluster.data_folder.stat().st_mode & 0o777 == 0o700


def test_a_durable_cluster_does_not_weaken_its_promises(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster")
    cluster.start()
    try:
        with cluster.superuser() as connection:
            found = connection.execute(
                "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('max_wal_size')"
            ).fetchone()
    finally:
        cluster.stop()
    assert found == ("on", "on", "8GB")


def test_data_survives_a_stop(cluster: Cluster) -> None:
    cluster.start()
    remember(cluster, 1)
    cluster.stop()
    assert not processes_in(cluster.data_folder)
    cluster.start()
    assert remembered(cluster) == [1]


def test_data_survives_kill_minus_9_and_the_next_start_is_not_hindered(cluster: Cluster) -> None:
    cluster.start()
    remember(cluster, 1)
    assert cluster.pid is not None
    os.kill(cluster.pid, signal.SIGKILL)
    cluster.stop()
    assert (cluster.data_folder / "postmaster.pid").exists()
    cluster.start()
    assert remembered(cluster) == [1]


def test_a_pid_that_was_used_again_does_not_hinder_a_start(cluster: Cluster) -> None:
    cluster.start()
    cluster.stop()
    for note in (cluster.data_folder / "postmaster.pid", cluster.socket_folder / ".s.PGSQL.5432.lock"):
        # Not ours nor our parent's: PostgreSQL would believe it of any process of the same user.
        with subprocess.Popen(["/bin/sleep", "60"]) as somebody:
            note.write_text(f"{somebody.pid}\n{cluster.data_folder}\n{int(time.time())}\n5432\n\n\n\n")
            cluster.start()
            assert somebody.poll() is None, "somebody else's process was ended"
            somebody.kill()
        cluster.stop()


def test_a_cluster_that_was_left_running_is_ended_by_the_next_start(cluster: Cluster) -> None:
    cluster.start()
    remember(cluster, 1)
    left = cluster.pid
    again = Cluster(cluster.folder, settings=THROWAWAY)
    again.start()
    try:
        assert remembered(again) == [1]
        assert again.pid != left
    finally:
        again.stop()


def test_an_interrupted_making_is_not_mistaken_for_a_cluster(cluster: Cluster) -> None:
    attempt = cluster.folder / "pgdata.new"
    attempt.mkdir(parents=True)
    (attempt / "PG_VERSION").write_text("18")
    cluster.start()
    assert cluster.is_ready()


def test_a_deep_folder_has_its_socket_elsewhere_and_at_the_same_place_again(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 20) / ("deeper" * 10)
    first = Cluster(folder, settings=THROWAWAY)
    first.start()
    try:
        assert first.is_ready()
        assert first.socket_folder.stat().st_mode & 0o777 == 0o700
        first.stop()
        second = Cluster(folder, settings=THROWAWAY)
        assert second.url() == first.url()
        second.start()
        second.stop()
    finally:
        first.stop(signal.SIGQUIT)
        shutil.rmtree(first.socket_folder)


@pytest.mark.parametrize("mode", [0o755, 0o700], ids=["open folder", "closed folder"])
def test_it_ends_with_its_parent(public_folder: Path, mode: int) -> None:
    public_folder.chmod(mode)
    script = (
        "import sys; from pathlib import Path; from cellwallet.local.postgres import THROWAWAY, Cluster;"
        "Cluster(Path(sys.argv[1]), settings=THROWAWAY).start(); print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(public_folder / "cluster")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=REPOSITORY) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"ready\n"
        assert processes_in(public_folder / "cluster" / "pgdata")
        parent.kill()
    wait_until(lambda: not processes_in(public_folder / "cluster" / "pgdata"), "PostgreSQL ends with its parent")


def test_a_leash_is_not_put_on_for_a_parent_that_is_gone() -> None:
    command = leashed(["/bin/echo", "ran"], parent_signal=signal.SIGKILL, parent_pid=1)
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (1, "")


@needs_root
def test_as_root_it_runs_as_nobody_where_nobody_can_go(public_folder: Path) -> None:
    cluster = Cluster(public_folder / "cluster", settings=THROWAWAY)
    cluster.start()
    try:
        assert cluster.data_folder.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert Path(f"/proc/{cluster.pid}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
    finally:
        cluster.stop()


@needs_root
def test_as_root_it_runs_in_a_namespace_where_nobody_cannot_go(public_folder: Path) -> None:
    public_folder.chmod(0o700)
    cluster = Cluster(public_folder / "cluster", settings=THROWAWAY)
    cluster.start()
    try:
        assert cluster.data_folder.stat().st_uid == 0
        status = Path(f"/proc/{cluster.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
    finally:
        cluster.stop()


@needs_root
def test_as_root_in_the_folder_of_another_user_it_runs_as_that_user(public_folder: Path) -> None:
    public_folder.chmod(0o700)
    daemon = pwd.getpwnam("daemon")
    os.chown(public_folder, daemon.pw_uid, daemon.pw_gid)
    cluster = Cluster(public_folder / "cluster", settings=THROWAWAY)
    cluster.start()
    try:
        assert cluster.data_folder.stat().st_uid == daemon.pw_uid
        assert cluster.is_ready()
    finally:
        cluster.stop()


@needs_root
@pytest.mark.parametrize("uid", [pwd.getpwnam("daemon").pw_uid, 54_321], ids=["named", "a number only"])
def test_an_ordinary_user_runs_it_as_himself(public_folder: Path, uid: int) -> None:
    os.chown(public_folder, uid, uid)
    script = (
        "import os, sys; os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))\n"
        "from pathlib import Path; from cellwallet.local.postgres import THROWAWAY, Cluster\n"
        "cluster = Cluster(Path(sys.argv[1]), settings=THROWAWAY); cluster.start(); cluster.stop()\n"
        "cluster.start(); print(cluster.data_folder.stat().st_uid); cluster.stop()"
    )
    command = [python_for_everybody(), "-c", script, str(public_folder / "cluster"), str(uid)]
    environment = {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *site.getsitepackages()])}
    answer = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY, env=environment)
    assert answer.stdout.strip() == str(uid), answer.stderr


@needs_root
def test_where_nobody_at_all_can_go_it_says_what_must_hold(public_folder: Path) -> None:
    """Neither another user nor root without its privileges enters a folder that is closed to everybody."""
    closed = public_folder / "closed"
    closed.mkdir(mode=0o000)
    with pytest.raises(PostgresMustRunUnprivilegedError, match="must be able to enter"):
        Cluster(closed / "cluster", settings=THROWAWAY).start()
    closed.chmod(0o700)


@needs_root
@pytest.mark.parametrize(("first", "then"), [(0o755, 0o700), (0o700, 0o755)])
def test_a_cluster_starts_again_when_its_folder_was_opened_or_closed(
    public_folder: Path, first: int, then: int
) -> None:
    for number, mode in enumerate((first, then, first)):
        public_folder.chmod(mode)
        cluster = Cluster(public_folder / "cluster", settings=THROWAWAY)
        cluster.start()
        try:
            remember(cluster, number)
        finally:
            cluster.stop()
    cluster.start()
    assert remembered(cluster) == [0, 1, 2]
    cluster.stop()


def test_a_role_cannot_do_what_its_database_does_not_grant(cluster: Cluster) -> None:
    cluster.start()
    cluster.ensure_role("someone")
    cluster.ensure_role("someone")
    cluster.ensure_database("theirs", owner="postgres")
    cluster.ensure_database("theirs", owner="postgres")
    with (
        psycopg.connect(cluster.url("someone", "theirs")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("CREATE TABLE public.mine (id int)")


LIMIT_S = 0.5


def hurried(cluster: Cluster) -> Cluster:
    return Cluster(cluster.folder, settings=THROWAWAY, limit_s=LIMIT_S)


def test_what_takes_too_long_is_given_up_by_the_database_too(cluster: Cluster) -> None:
    cluster.start()
    with pytest.raises(TimeoutError, match="longer than"), hurried(cluster).superuser() as connection:
        connection.execute("SELECT pg_sleep(%s)", [DEADLINE_S])
    with cluster.superuser() as connection:
        assert connection.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchall() == []


def test_a_database_that_stops_in_the_middle_of_an_answer_is_not_waited_for(cluster: Cluster) -> None:
    cluster.start()
    with pytest.raises(TimeoutError, match="longer than"):
        ask_who_stands_still(hurried(cluster))


def ask_who_stands_still(cluster: Cluster) -> None:
    with cluster.superuser() as connection:
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        connection.execute("SELECT 1")


def test_a_limit_of_its_own_is_longer(cluster: Cluster) -> None:
    cluster.start()
    with hurried(cluster).superuser(limit_s=DEADLINE_S) as connection:
        assert connection.execute("SELECT 1 FROM pg_sleep(%s)", [LIMIT_S * 2]).fetchone() == (1,)


def test_other_mistakes_are_told_as_they_are(cluster: Cluster) -> None:
    cluster.start()
    with pytest.raises(psycopg.errors.UndefinedTable), hurried(cluster).superuser() as connection:
        connection.execute("SELECT FROM nothing")
    with pytest.raises(psycopg.errors.AdminShutdown), hurried(cluster).superuser() as connection:
        connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
