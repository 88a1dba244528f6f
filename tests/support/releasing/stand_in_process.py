"""A process in the place of a cell's API process: its admin API as far as rollouts need it, and metrics that follow
what its release makes of it. Started with a port, the id of its cell, and a folder that all processes share.

Settings of a release: CELL_STAND_IN_NEVER_READY, CELL_STAND_IN_ERRORS (share of requests), CELL_STAND_IN_P99_S,
CELL_STAND_IN_UNCLEAN.
"""

import http.server
import json
import os
import sys
import time
from pathlib import Path

PORT, CELL, FOLDER = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
BEGAN_S = time.time()
RATE_PER_S = 200.0
ERRORS = float(os.environ.get("CELL_STAND_IN_ERRORS", "0"))
SLOWEST_S = float(os.environ.get("CELL_STAND_IN_P99_S", "0.009"))
BOUNDS = (0.01, 0.1, 1.0)


def metrics() -> str:
    count = (time.time() - BEGAN_S) * RATE_PER_S
    lines = [
        f"process_start_time_seconds {BEGAN_S}",
        f'cell_refused_total{{reason="cell_must_be_reachable"}} {count * ERRORS}',
        "cell_audit_findings_total 0",
        "cell_saga_oldest_seconds 0",
    ]
    for name in ("cell_request_duration_seconds", "cell_batch_duration_seconds"):
        seen = ((str(bound), count if bound >= SLOWEST_S else 0.0) for bound in BOUNDS)
        lines += [f'{name}_bucket{{le="{bound}"}} {number}' for bound, number in (*seen, ("+Inf", count))]
        lines += [f"{name}_count {count}", f"{name}_sum {count * SLOWEST_S}"]
    return "\n".join(lines) + "\n"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/readyz":
            self._answer(503 if os.environ.get("CELL_STAND_IN_NEVER_READY") else 200, "{}")
        elif self.path == "/metrics":
            self._answer(200, metrics(), kind="text/plain")
        elif self.path == "/admin/units":
            self._answer(200, json.dumps({"cell": CELL, "units": self._units()}))
        else:
            self._answer(404, "{}")

    def do_PUT(self) -> None:
        (FOLDER / f"{CELL}.json").write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(200, json.dumps({"cell": CELL, "units": self._units()}))

    def do_POST(self) -> None:
        is_clean = not os.environ.get("CELL_STAND_IN_UNCLEAN")
        findings = [] if is_clean else [{"invariant": "L5"}]
        told = {"cell": CELL, "clean": is_clean, "checked": {}, "findings": findings, "duration_s": 0.0}
        self._answer(200, json.dumps(told))

    def _units(self) -> list[dict[str, object]]:
        file = FOLDER / f"{CELL}.json"
        runs = json.loads(file.read_bytes())["runs"] if file.exists() else []
        return [{"first": first, "last": last, "state": "active", "epoch": 1} for first, last in runs]

    def _answer(self, status: int, body: str, *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments: object) -> None:
        del arguments


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
