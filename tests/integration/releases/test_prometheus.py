"""Figures from a real Prometheus that scrapes a small exporter; and what its absence and nonsense become."""

import http.server
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_plane_process import free_port
from running_platform import until
from served_in_a_thread import served

from contract.ids import CellId
from control_plane.cell_admin import admin_client
from control_plane.fleet.model import Cell
from control_plane.releaser.prometheus import PrometheusFigures, queries_of

CELLS = tuple(Cell(id=CellId(name), state="active", home_zone="a") for name in ("cell-1", "cell-2", "cell-3"))
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def answering(answers: Callable[[str], Any], *, url: str = "http://prometheus") -> PrometheusFigures:
    def handle(request: httpx.Request) -> httpx.Response:
        told = answers(request.url.params["query"])
        return told if isinstance(told, httpx.Response) else httpx.Response(200, json=told)

    return PrometheusFigures(httpx.AsyncClient(transport=httpx.MockTransport(handle)), url)


def vector(**cells: str) -> dict[str, Any]:
    result = [{"metric": {"cell": name.replace("_", "-")}, "value": [0, text]} for name, text in cells.items()]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def figures(source: PrometheusFigures) -> Any:
    found = await source.figures(CELLS, began_at=BEGAN, ended_at=BEGAN + timedelta(seconds=60))
    await source.close()
    return found


async def test_what_has_no_series_has_not_happened_but_a_cell_without_requests_is_not_seen() -> None:
    queries = queries_of(60)

    def answer(query: str) -> Any:
        by_query = {
            queries["requests"]: vector(cell_1="600", cell_2="0"),
            queries["p99_ms"]: vector(cell_1="41.5", cell_2="NaN"),
        }
        return by_query.get(query, vector())

    found = await figures(answering(answer))
    one, two, three = (found.cells[cell.id] for cell in CELLS)
    assert (one.requests, one.errors, one.p99_ms, one.batch_p99_ms) == (600, 0, 41.5, None)
    assert (two.requests, two.p99_ms) == (0, None)
    assert three is None
    assert found.questions["queries"] == queries
    assert "[60s]" in queries["errors"]


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503, json={"status": "error"}),
        httpx.Response(200, text="no json"),
        {"status": "error", "errorType": "bad_data"},
        {"status": "success", "data": {"result": [{"metric": {}, "value": [0, "1"]}]}},
        {"status": "success", "data": None},
    ],
    ids=str,
)
async def test_where_nobody_answers_sensibly_nobody_is_seen(answer: Any) -> None:
    found = await figures(answering(lambda _: answer))
    assert set(found.cells.values()) == {None}


async def test_evidence_does_not_tell_by_which_password_it_was_asked() -> None:
    found = await figures(answering(lambda _: vector(), url="http://reader:secret@prometheus:9090/behind"))
    assert found.questions["from"] == "http://prometheus:9090/behind"
    assert "secret" not in json.dumps(found.questions)


@pytest.fixture
def exporter() -> Iterator[str]:
    """Host and port of cells whose requests grow with time: the second fails a fifth of them."""
    began_s = time.time()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cell = self.path.strip("/").split("/")[0]
            count = (time.time() - began_s) * 100
            failed = count / 5 if cell == "cell-2" else 0
            lines = [
                f"process_start_time_seconds {began_s}",
                f'cell_refused_total{{reason="deadline_must_not_pass"}} {failed}',
                f'cell_refused_total{{reason="wallet_must_exist"}} {count}',
                "cell_audit_findings_total 0",
                "cell_saga_oldest_seconds 3",
            ]
            for name in ("cell_request_duration_seconds", "cell_batch_duration_seconds"):
                lines += [f'{name}_bucket{{le="0.05"}} {count}', f'{name}_bucket{{le="+Inf"}} {count}']
                lines += [f"{name}_count {count}", f"{name}_sum {count}"]
            body = "\n".join([*lines, ""]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            del arguments

    with served(Handler) as url:
        yield url.removeprefix("http://")


@pytest.fixture
def prometheus(tmp_path: Path, exporter: str) -> Iterator[str]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("the program prometheus is not installed")
    scrapes = [
        {
            "job_name": name,
            "metrics_path": f"/{name}/metrics",
            "static_configs": [{"targets": [exporter], "labels": {"cell": name, "job": "cell"}}],
        }
        for name in ("cell-1", "cell-2")
    ]
    configuration = {"global": {"scrape_interval": "1s"}, "scrape_configs": scrapes}
    (tmp_path / "prometheus.yml").write_text(json.dumps(configuration))
    port = free_port()
    command = [
        program,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (tmp_path / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(20)


async def test_a_real_prometheus_tells_of_every_cell(prometheus: str) -> None:
    source = PrometheusFigures(admin_client(), prometheus)

    async def look() -> Any:
        now = datetime.now(UTC)
        found = await source.figures(CELLS, began_at=now - timedelta(seconds=10), ended_at=now)
        one = found.cells[CELLS[0].id]
        return found if one is not None and one.requests > 300 else None

    found = await until(look, deadline_s=60)
    await source.close()
    one, two, three = (found.cells[cell.id] for cell in CELLS)
    assert one.errors == 0
    assert two.errors / two.requests == pytest.approx(0.2, rel=0.2)
    assert one.p99_ms == pytest.approx(49.5, rel=0.05)
    assert one.saga_oldest_s == 3
    assert three is None


def test_promtool_understands_every_query(tmp_path: Path) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("the program promtool is not installed")
    rules = [{"record": f"figure:{name}", "expr": query} for name, query in queries_of(60).items()]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "figures", "rules": rules}]}))
    checked = subprocess.run([program, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout
