"""`python -m control_plane`: what an operator starts, stops and reads."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from control_plane_process import ROOT, control_plane_process
from platform_keys import PlatformKeys, bearer
from running_platform import until

from cellwallet.local.scratch import ScratchCluster
from control_plane.__main__ import main
from control_plane.store.migrate import newest_revision

TRACE = "0af7651916cd43dd8448eb211c80319c"


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "control_plane", *arguments],
        cwd=ROOT,
        env=environment or {},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_migrate_tells_the_revision(postgres_cluster: ScratchCluster) -> None:
    url = postgres_cluster.new_control_plane_database().url("control_plane")
    done = run("migrate", environment={"CONTROL_PLANE_DATABASE_URL": url})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["revision"] == newest_revision()


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        ([], {}, "usage"),
        (["sever"], {}, "usage"),
        (["serve", "now"], {}, "usage"),
        (["serve"], {}, "CONTROL_PLANE_DATABASE_URL"),
        (["serve"], {"DATABASE_URL": "postgresql://x@/y", "PROT": "1"}, "CONTROL_PLANE_PROT"),
        (["migrate"], {"DATABASE_URL": "postgresql://x@/y", "PORT": "x"}, "CONTROL_PLANE_PORT"),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_words(
    arguments: list[str],
    environment: dict[str, str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(f"CONTROL_PLANE_{name}", text)
    assert main(arguments) == 2
    assert told in capsys.readouterr().err


def test_a_missing_key_is_told_and_no_traceback() -> None:
    done = run("serve", environment={"CONTROL_PLANE_DATABASE_URL": "postgresql://x@/y"})
    assert done.returncode == 1
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "key_must_be_usable"
    assert "Traceback" not in done.stderr


async def test_a_stop_lets_long_polls_go_and_is_a_clean_one(
    database_url: str, keys: PlatformKeys, tmp_path: Path
) -> None:
    log = tmp_path / "control_plane.log"
    async with control_plane_process(database_url, keys, log) as running:
        headers = {"X-Request-Id": "r-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        waiting = asyncio.create_task(
            running.client.get("/v1/directory?wait=50", headers={**bearer(keys.operator()), **headers})
        )
        await until(lambda: logged(log, "database_is_reachable"))
        await running.get("/v1/cells")
        async with asyncio.timeout(9):
            assert await running.stop() == 0
            answer = await waiting
    assert answer.json()["reason"] == "directory_must_be_published"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = next(line for line in lines if line.get("request_id") == "r-1" and line["event"] == "request")
    assert (told["trace_id"], told["status"], told["caller"], told["path"]) == (TRACE, 503, "olga", "/v1/directory")
    assert lines[-1]["event"] == "stopped"
    assert not [line for line in lines if line["level"] in {"error", "critical"}]


async def logged(log: Path, event: str) -> bool:
    return f'"{event}"' in await asyncio.to_thread(log.read_text)
