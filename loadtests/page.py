"""docs/PERFORMANCE.md as text, of the documents of runs. Pure: no file, no picture, no clock."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from loadtests.agreement import DIFFERENCE_MAX, compared
from loadtests.figures import COSTS
from loadtests.gallery import CUTOVERS, OTHER, gallery, share_of_goal
from loadtests.joining import joined

PICTURES = "performance"
"""The folder of the pictures, next to the page."""

HEAD = """# Performance

Rendered by `python -m loadtests.report` from `build/bench.json`; not edited by hand. Figures of different machines, or
of one machine on different days, do not compare; ratios within one run do, and each target is judged by one run. Where
several runs have a figure, `… of P7` is the one that P7 was judged by.
"""

METHOD = """## What was measured, and how

- **The system under test** is one cell as it is run: `python -m cell serve` on an embedded PostgreSQL of its own, over
  HTTP with keep-alive on 127.0.0.1, with every check on: token, idempotency, funds, hash chain, audit context,
  access log.
- **Load** comes from our own generator on the same machine (its CPU is in the table). *Closed loop*: so many requests
  are under way at any time; it finds peaks, and its latencies flatter. *Open loop*: a constant rate of arrivals
  whatever the answers do; latency counts from the intended instant, late and dropped requests are counted. 1 % of the
  postings are sent twice and have to get the original's answer.
- **Sustained** is a rate that holds for the stated time with p99 ≤ 50 ms, nothing dropped, all answered. Long tries go
  8 % up from a rate that held and 8 % down from one that did not, to and fro over the highest that does; the figure is
  the median of those that held.
- **Peers** run in the same PostgreSQL cluster, driven by pgbench without HTTP: a posting as a conversation
  (`interactive`), as one statement (`one_statement`), and a ledger as SQL functions with sorted locks and two entries
  per transfer (`sql_ledger`). None of them has tokens, idempotency, hash chains or audit context: they do less, and
  show what one transaction per posting costs.
- **Bulk** is counted by operation and timed by request. **Routers** stand in front of the same cell, in turn with it;
  half load is half of what just went through. **Overload** offers three times what a process is held to, which is a
  quarter of its peak, because the load comes from the same machine. **Memory** is resident, of the largest API process
  and of a router with a full map, after a tenth of the time and at the end.
- **Moves**: a slot, one hot wallet alone and a slot with a long past go there and back between the two cells of a new
  `cellwallet up`, under an open load through its router. *Pause* is the mover's record, from the order of the fence
  until the target served; *longest wait* is the slowest of all requests around that cut-over, as its vendor saw it.
  An answer that is neither success nor replay is an error. Afterwards each acknowledged command is in the ledger of
  the unit's owner exactly once, and the fleet is audited in full.
- **PostgreSQL** has run for a while: statistics, files of its log and a checkpoint are there before anything is
  measured, and each round begins with a checkpoint.
- **Rounds** alternate over all figures; a figure is the median of its rounds. Loops of seconds that are compared with
  one another take turns several laps long within each round, for a shared machine may be twice as fast a minute later;
  every second lap goes backwards, so that neither is always the earlier.
- **Ratios** are of what was measured side by side: of two figures of one lap, of a sustained rate and its round's
  peers. The one that is told is the median of the geometric means of all pairs of these ratios (Hodges and Lehmann's
  estimator): a median that differs less from run to run.
- **Checks** after every run of postings: Σ wallets + Σ accounts = 0; what was acknowledged is in the ledger exactly
  once; sums are as answered; duplicates had no effect; chains hash as the contract says; at the end every log is
  folded and every hash computed again. A figure whose check fails is marked, and the run exits with 1.
"""

REPEAT = """## How to repeat it

    make bench                        # writes build/bench.json
    python -m loadtests.report        # writes this page and its pictures
    python -m loadtests.report --also OTHER.json      # with targets that only the other run measured
    python -m loadtests.report --again OTHER.json     # with how far a second run of the same says the same
    python -m loadtests.report --against OTHER.json   # in which ratios two runs differ by more than 15 %

`make bench QUICK=1 ONLY=P1,P2` shows in a minute that it works; its figures are not worth quoting.
"""


def render(*runs: dict[str, Any], again: dict[str, Any] | None = None) -> str:
    """The first run is the page's; of the others comes what those before them did not measure. `again` is a second run
    of the first: it is only held against it.

    Raises:
        RunsMustCompareError: there is nothing in these two that could be compared.

    """
    document = joined(*runs)
    parts = (
        *(HEAD, *_runs(runs), _targets(document), _agreement(runs[0], again), _pictures(document)),
        *(_figures(document), _stories(document), METHOD, REPEAT),
    )
    return "\n".join(part for part in parts if part)


def _runs(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    known: set[str] = set()
    for document in runs:
        new = [target for target in document["targets"] if target not in known]
        known.update(new)
        yield _run(document, "## The run" if len(runs) == 1 else f"## The run of {', '.join(new) or 'no target'}")


def _stolen(noise: dict[str, Any]) -> str:
    """Runs of earlier versions do not know it."""
    if "stolen_share_max" not in noise:
        return ""
    shares = f"{noise['stolen_share_median']:.2%} (at most {noise['stolen_share_max']:.2%})"
    return f"; the host kept {shares} of the processors' time for itself"


def _run(document: dict[str, Any], head: str) -> str:
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
        f"at most {noise.get('others_cores_max', 0)}); for {noise.get('disk_stalled_share_median', 0):.2%} of the time "
        f"(at most {noise.get('disk_stalled_share_max', 0):.2%}) the disk let a small sync wait for more than 20 ms"
        + _stolen(noise),
        "software": f"Python {versions['python']} ({versions['python_build']}), PostgreSQL {versions['postgresql']}, "
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
    return f"{head}\n\n" + _table(("what", "which"), facts.items())


TOLD = {"uvicorn", "uvloop", "httptools", "psycopg", "pydantic", "fastapi", "orjson"}
"""Packages that a request passes through."""


def _targets(document: dict[str, Any]) -> str:
    rows = []
    for name, target in document["targets"].items():
        for part in target["parts"]:
            sign = "≥" if part["sense"] == "at_least" else "≤"
            verdict = "yes, and what comes then" if part["then_reached"] else "yes" if part["reached"] else "**no**"
            bounds = (f"{sign} {part['target']:,g}", f"{sign} {part['then']:,g}")
            measured, share = f"{_number(part['value'])} {part['unit']}", f"{share_of_goal(part):,.2f}"
            rows.append((name, part["name"], measured, *bounds, share, verdict))
    absent = "".join(f"Not measured: {line}\n" for line in document.get("absent", ()))
    if not rows:
        return absent
    columns = ("target", "goal", "measured", "reach", "then", "share of the goal", "reached")
    return f"## Targets\n\n{_table(columns, rows)}\n{absent}".rstrip("\n") + "\n"


def _agreement(document: dict[str, Any], again: dict[str, Any] | None) -> str:
    if again is None:
        return ""
    told = (
        f"A second run, begun {again['began_at']} at revision {again['revision']['revision']}, took "
        f"{again['duration_s'] / 60:.0f} minutes. Ratios within {DIFFERENCE_MAX:.0%} of one another agree.\n\n"
    )
    rows = [
        (f"`{one.name}`", f"{one.ratio:g}", f"{one.other:g}", one.apart, "yes" if one.agrees else "**no**")
        for one in compared(document, again)
    ]
    columns = ("ratio", "this run", "the second", "apart", "agree")
    return f"## The same once more\n\n{told}{_table(columns, rows)}"


CAPTIONS = {OTHER: "Figures of no target", CUTOVERS: "Latency around the cut-over of a typical move"}


def _pictures(document: dict[str, Any]) -> str:
    """What was measured for each target, the cell next to its peers."""
    told = "Bars are medians, points are rounds; blue is ours, violet a peer.\n\n"
    pictures = "\n".join(f"![{CAPTIONS.get(name, name)}]({PICTURES}/{name}.png)\n" for name in gallery(document))
    return f"## In pictures\n\n{told}{pictures}" if pictures else ""


def _figures(document: dict[str, Any]) -> str:
    rows = [
        (
            f"`{name}`",
            figure["title"],
            figure["loop"],
            f"{_number(figure['median'])} {figure['unit']}" + ("" if figure["valid"] else " **invalid**"),
            " · ".join(_number(one["value"]) for one in figure["rounds"]),
            *(_number(figure["latency_ms"].get(quantile)) for quantile in ("p50", "p99", "max")),
        )
        for name, figure in document["figures"].items()
    ]
    heads = ("figure", "what", "loop", "median", "rounds", "p50 ms", "p99 ms", "max ms")
    return "## Figures\n\n" + _table(heads, rows) + "\n" + _costs(document)


def _costs(document: dict[str, Any]) -> str:
    names = (*COSTS, "generator_cores", "api_memory_mb")
    rows = [
        (f"`{name}`", *(_number(figure["costs"].get(cost)) for cost in names))
        for name, figure in document["figures"].items()
        if "postgresql_cpu_us" in figure["costs"]
    ]
    if not rows:
        return ""
    cpu = (f"{whose} CPU µs" for whose in ("API", "PostgreSQL", "router", "client"))
    heads = ("cost of one", "WAL bytes", *cpu, "client cores", "API MB")
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
    return "" if figure is None else f"{figure:,.0f}" if figure >= 1_000 else f"{figure:,.4g}"
