"""P6: the same postings on a cell with very many wallets and entries and on a fresh small one, lap by lap.

Both are at rest until it is their turn. Then both serve, and each is posted to for a while before anything is measured.

The rounds lie in one cycle of PostgreSQL's checkpoints, which takes half an hour: after a checkpoint it writes each
page in full when it first changes, and a large cell has more pages to get over. A checkpoint before each round would
measure nothing but the first minutes of a cycle.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from cellwallet.local.postgres import Cluster, ClusterSettings
from loadtests.benchmarks.writes import UNIT
from loadtests.figures import Round
from loadtests.grown_cells import Growth, grown_cell
from loadtests.guests import Guest, grown_guest, new_guest
from loadtests.load import Pace
from loadtests.stage import Measurement, Stage


class Growths:
    """Made by `small_and_grown`."""

    def __init__(self, small: Guest, grown: Guest, facts: dict[str, Any]) -> None:
        self._small = small
        self._grown = grown
        self.guests = (small, grown)
        self.facts = facts
        self._has_begun = False

    def measurements(self) -> list[Measurement]:
        told = (
            ("growth.small.peak", "all wallets alike, a fresh small cell, peak", self._small),
            ("growth.grown.peak", "all wallets alike, a cell with a long past, peak", self._grown),
        )
        return [
            Measurement(
                id=one,
                title=title,
                unit=UNIT,
                loop="closed",
                run=partial(guest.measured_now, _uniform),
                turns="brief",
                setting=self._both_serving,
            )
            for one, title, guest in told
        ]

    @contextmanager
    def _both_serving(self) -> Iterator[None]:
        if not self._has_begun:
            for guest in self.guests:
                guest.stage.checkpoint()
            self._has_begun = True
        with self._small.serving() as small, self._grown.serving() as grown:
            for stage in (small, grown):
                pace = Pace(duration_s=stage.scale.grown_warm_s, concurrency=stage.scale.concurrency)
                stage.post_unmeasured(stage.wallets, pace)
            yield


@contextmanager
def small_and_grown(
    host: Stage, folder: Path, *, settings: ClusterSettings, lanes: int, told: Callable[[], object]
) -> Iterator[Growths]:
    scale = host.scale
    growth = Growth(
        wallets=scale.grown_wallets, entries_each=scale.grown_entries_each, overdraft_limit=scale.overdraft_limit
    )
    folder.mkdir()
    with ExitStack() as ending:
        grown = ending.enter_context(
            grown_cell(growth, folder / "grown", settings=settings, lanes=lanes, generator=host.generator, told=told)
        )
        cluster = Cluster(folder / "small", settings=settings)
        ending.callback(cluster.stop)
        cluster.start()
        yield Growths(
            new_guest(host, cluster, folder / "small-cell", name="the fresh small cell", lanes=lanes),
            grown_guest(
                host,
                grown.cell,
                grown.wallets,
                name="the grown cell",
                is_audited_in_full=not grown.was_kept,  # many minutes for 20 million entries that were audited once
            ),
            {"grown_wallets": growth.wallets, "grown_entries": growth.entries, "grown_cell_was_kept": grown.was_kept},
        )


def _uniform(stage: Stage) -> Round:
    one, _ = stage.post(stage.wallets, stage.closed(concurrency=stage.scale.concurrency))
    return one
