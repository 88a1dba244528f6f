"""`python -m loadtests.report`: renders docs/PERFORMANCE.md from build/bench.json; no figure is typed by hand."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loadtests.bench import OUT
from loadtests.machine import ROOT

PAGE = ROOT / "docs" / "PERFORMANCE.md"

HEAD = """# Performance

Rendered by `python -m loadtests.report` from the `build/bench.json` of one run; not edited by hand. Figures of
different machines, or of one machine on different days, do not compare; ratios within one run do.
"""

METHOD = """## What was measured, and how

- **The system under test** is one cell as it is run: `python -m cell serve` on an embedded PostgreSQL of its own, over
  HTTP with keep-alive on 127.0.0.1, with every check on: token, idempotency, funds, hash chain, audit context,
  access log.
- **Load** comes from our own generator on the same machine (its CPU is in the table). *Closed loop*: so many requests
  are under way at any time; it finds peaks, and its latencies flatter. *Open loop*: a constant rate of arrivals
  whatever the answers do; latency counts from the intended instant, late and dropped requests are counted. 1 % of the
  postings are sent twice and have to get the original's answer.
- **Sustained** is the highest rate that holds for the stated time with p99 ≤ 50 ms, nothing dropped, all answered.
- **Peers** run in the same PostgreSQL cluster, driven by pgbench without HTTP: a posting as a conversation
  (`interactive`), as one statement (`one_statement`), and a ledger as SQL functions with sorted locks and two entries
  per transfer (`sql_ledger`). None of them has tokens, idempotency, hash chains or audit context: they do less, and
  show what one transaction per posting costs.
- **Bulk** is counted by operation and timed by request. **Routers** stand in front of the same cell, in turn with it;
  half load is half of what just went through. **Overload** offers three times what a process is held to, which is a
  quarter of its peak, because the load comes from the same machine. **Memory** is resident, of the largest API process
  and of a router with a full map, after a tenth of the time and at the end.
- **Rounds** alternate over all figures; a figure is the median of its rounds.
- **Checks** after every run of postings: Σ wallets + Σ accounts = 0; what was acknowledged is in the ledger exactly
  once; sums are as answered; duplicates had no effect; chains hash as the contract says; at the end every log is
  folded and every hash computed again. A figure whose check fails is marked, and the run exits with 1.
"""

REPEAT = """## How to repeat it

    make bench                        # writes build/bench.json
    python -m loadtests.report        # writes this page

`make bench QUICK=1 ONLY=P1,P2` shows in a minute that it works; its figures are not worth quoting.
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests.report", description=__doc__)
    parser.add_argument("--run", type=Path, default=OUT, help="the document of a run")
    parser.add_argument("--out", type=Path, default=PAGE)
    asked = parser.parse_args(arguments)
    asked.out.write_text(render(json.loads(asked.run.read_text())))
    print(f"written: {asked.out}")
    return 0


def render(document: dict[str, Any]) -> str:
    parts = (HEAD, _run(document), _targets(document), _figures(document), _stories(document), METHOD, REPEAT)
    return "\n".join(part for part in parts if part)


def _run(document: dict[str, Any]) -> str:
    machine, versions, settings = document["machine"], document["versions"], document["settings"]
    revision = document["revision"]
    noise = document["noise"]
    postgresql = settings["postgresql"]
    facts = {
        "date": f"{document['began_at']}, {document['duration_s'] / 60:.0f} minutes"
        + (" (**quick**: not worth quoting)" if document["quick"] else ""),
        "machine": f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb'] / 1_024:.0f} GB, "
        f"Linux {machine['kernel']}",
        "noise": f"others kept {noise.get('others_cores_median', 0)} cores busy (median of the rounds; "
        f"at most {noise.get('others_cores_max', 0)})",
        "software": f"Python {versions['python']}, PostgreSQL {versions['postgresql']}, "
        + ", ".join(f"{name} {version}" for name, version in versions["packages"].items() if name in TOLD),
        "revision": f"{revision['revision']}{' with local changes' if revision['has_local_changes'] else ''}",
        "cell": f"{settings['api_processes']} API process(es) with {settings['lanes_per_process']} lanes, "
        f"{settings['wallets']:,} wallets",
        "PostgreSQL": ", ".join(f"{name} = {text}" for name, text in postgresql.items()),
        "rounds": f"{settings['rounds']}; {settings['peak_s']:g} s per peak, {settings['confirm_s']:g} s sustained",
        "at the end": "; ".join(
            f"{check['name']} {'passed' if check['passed'] else '**failed**'}: {check['detail']}".rstrip(": ")
            for check in document["checks"]
        ),
    }
    return "## The run\n\n" + _table(("what", "which"), facts.items())


TOLD = {"uvicorn", "uvloop", "httptools", "psycopg", "pydantic", "fastapi", "orjson"}
"""Packages that a request passes through."""


def _targets(document: dict[str, Any]) -> str:
    rows = []
    for name, target in document["targets"].items():
        for part in target["parts"]:
            sign = "≥" if part["sense"] == "at_least" else "≤"
            verdict = "yes, and what comes then" if part["then_reached"] else "yes" if part["reached"] else "**no**"
            bounds = (f"{sign} {part['target']:,g}", f"{sign} {part['then']:,g}")
            rows.append((name, part["name"], f"{part['value']:,.5g} {part['unit']}", *bounds, verdict))
    if not rows:
        return ""
    return "## Targets\n\n" + _table(("target", "goal", "measured", "reach", "then", "reached"), rows)


def _figures(document: dict[str, Any]) -> str:
    rows = [
        (
            f"`{name}`",
            figure["title"],
            figure["loop"],
            f"{figure['median']:,.5g} {figure['unit']}" + ("" if figure["valid"] else " **invalid**"),
            " · ".join(f"{one['value']:,.5g}" for one in figure["rounds"]),
            *(_number(figure["latency_ms"].get(quantile)) for quantile in ("p50", "p99", "max")),
        )
        for name, figure in document["figures"].items()
    ]
    heads = ("figure", "what", "loop", "median", "rounds", "p50 ms", "p99 ms", "max ms")
    return "## Figures\n\n" + _table(heads, rows) + "\n" + _costs(document)


def _costs(document: dict[str, Any]) -> str:
    names = ("wal_bytes", "api_cpu_us", "postgresql_cpu_us", "generator_cpu_us", "generator_cores", "api_memory_mb")
    rows = [
        (f"`{name}`", *(_number(figure["costs"].get(cost)) for cost in names))
        for name, figure in document["figures"].items()
        if "postgresql_cpu_us" in figure["costs"]
    ]
    if not rows:
        return ""
    heads = ("cost of one", "WAL bytes", "API CPU µs", "PostgreSQL CPU µs", "client CPU µs", "client cores", "API MB")
    return "### What one of them costs\n\n" + _table(heads, rows)


def _stories(document: dict[str, Any]) -> str:
    """How the rates were found that were not given, round by round."""
    lines = [
        f"- `{name}`, round {number}: {'; '.join(one['notes'])}"
        for name, figure in document["figures"].items()
        for number, one in enumerate(figure["rounds"], start=1)
        if one["notes"]
    ]
    return "### How rates were found\n\n" + "\n".join(lines) + "\n" if lines else ""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def lines() -> Iterator[Sequence[str]]:
        yield heads
        yield ["---"] * len(heads)
        yield from rows

    return "".join(f"| {' | '.join(line)} |\n" for line in lines())


def _number(figure: float | None) -> str:
    return "" if figure is None else f"{figure:,.4g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
