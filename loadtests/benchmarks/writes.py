"""P1 and P2: postings on all wallets and on a single hot one, and the ledgers in SQL that they are compared with."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from loadtests.benchmarks.sustained import Sustained
from loadtests.figures import Round
from loadtests.peers import PEERS, Peer
from loadtests.stage import Measurement, Stage
from loadtests.targets import GOALS
from loadtests.usage import Meter

CLIENTS = (8, 32)
ZIPF = 1.0
UNIT = "commands/s"
COMPARED = {name for goals in GOALS.values() for goal in goals for name in goal.over}
"""The others are told, and measured once a round."""


def measure_writes(stage: Stage, *, with_uniform: bool, with_hot: bool) -> list[Measurement]:
    """P1, P2: first what is brief, in turns; the sustained rate starts from the peak that was found there."""
    found = [_uniform_peak(stage)] if with_uniform or with_hot else []
    if with_hot:
        found += [_hot_peak(stage), *_peers(stage, is_hot=True)]
    if with_uniform:
        found += [_zipf_peak(stage), *_peers(stage, is_hot=False)]
    in_turns = [one for one in found if one.turns == "brief"]
    return [
        *in_turns,
        *(one for one in found if one.turns != "brief"),
        *([uniform_sustained(stage)] if with_uniform else []),
    ]


def _uniform_peak(stage: Stage) -> Measurement:
    measurement = _peak(stage, "write.uniform.peak", "all wallets alike, peak", lambda: stage.wallets)

    def run() -> Round:
        one = measurement.run()
        stage.uniform_peak_per_s = one.value
        return one

    return replace(measurement, run=run)


def _zipf_peak(stage: Stage) -> Measurement:
    return _peak(
        stage, "write.zipf.peak", "Zipf-skewed wallets, peak", lambda: stage.wallets, skew=ZIPF, is_compared=False
    )


def _hot_peak(stage: Stage) -> Measurement:
    return _peak(stage, "write.hot.peak", "one hot wallet, peak", lambda: stage.wallets[:1])


def _peak(
    stage: Stage,
    figure: str,
    title: str,
    wallets: Callable[[], Sequence[str]],
    *,
    skew: float = 0.0,
    is_compared: bool = True,
) -> Measurement:
    def run() -> Round:
        one, _ = stage.post(wallets(), stage.closed(concurrency=stage.scale.concurrency), skew=skew)
        return one

    return Measurement(
        id=figure, title=title, unit=UNIT, loop="closed", run=run, turns="brief" if is_compared else "one"
    )


def uniform_sustained(stage: Stage) -> Measurement:
    return Measurement(
        id="write.uniform.sustained",
        title="all wallets alike, highest rate with p99 within its bound",
        unit=UNIT,
        loop="open",
        run=Sustained(stage).run,
        turns="long",
    )


def _peers(stage: Stage, *, is_hot: bool) -> list[Measurement]:
    where, words = ("hot", "one hot account") if is_hot else ("uniform", "all accounts alike")
    return [
        Measurement(
            id=f"{peer.name}.{where}.{clients}",
            title=f"pgbench {peer.name.replace('_', ' ')}, {words}, {clients} clients",
            unit=UNIT,
            loop="closed",
            run=_peer_run(stage, peer, is_hot=is_hot, clients=clients),
            turns="brief" if f"{peer.name}.{where}.{clients}" in COMPARED else "one",
        )
        for peer in PEERS
        for clients in CLIENTS
    ]


def _peer_run(stage: Stage, peer: Peer, *, is_hot: bool, clients: int) -> Callable[[], Round]:
    def run() -> Round:
        before = stage.log_position()
        meter = Meter(api_pids=(), cluster_folder=stage.cell.cluster.data_folder)
        ran = stage.peers.run(peer, is_hot=is_hot, clients=clients, duration_s=stage.scale.peak_s)
        usage = meter.read()
        transactions = max(ran.transactions, 1)
        return Round(
            value=ran.per_s,
            checks=ran.checks,
            latency_ms={"mean": ran.latency_mean_ms},
            counts={"accepted": ran.transactions},
            costs={
                "wal_bytes": (stage.log_position() - before) / transactions,
                "postgresql_cpu_us": usage.postgres_cpu_s / transactions * 1e6,
                "generator_cpu_us": ran.client_cpu_s / transactions * 1e6,
            },
            others_cores=usage.others_cores(ours_s=ran.client_cpu_s),
        )

    return run
