"""P7: the write figures of a cell whose commits wait for a synchronous standby, in turn with those of one without.

Both PostgreSQL servers and both cells share the machine's cores: what is measured is the price on one machine.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cellwallet.local.postgres import Cluster, ClusterSettings
from cellwallet.local.standby import standing_by
from loadtests.benchmarks.sustained import Sustained
from loadtests.benchmarks.writes import UNIT, uniform_sustained
from loadtests.figures import Loop, Round
from loadtests.guests import Guest, new_guest
from loadtests.stage import Measurement, Stage


class WithStandby:
    """Made by `with_standby`."""

    def __init__(self, host: Stage, guest: Guest) -> None:
        self._host = host
        self.guest = guest
        self._sustained = Sustained(guest.stage)

    def measurements(self) -> list[Measurement]:
        told: tuple[tuple[str, str, Loop, Callable[[], Round]], ...] = (
            ("uniform.without", "all wallets alike, without a standby, peak", "closed", lambda: _uniform(self._host)),
            ("uniform.peak", "all wallets alike, with a standby, peak", "closed", self.guest.measured(_uniform)),
            ("hot.without", "one hot wallet, without a standby, peak", "closed", lambda: _hot(self._host)),
            ("hot.peak", "one hot wallet, with a standby, peak", "closed", self.guest.measured(_hot)),
        )
        title = "all wallets alike, with a standby, highest rate with p99 within its bound"
        sustained = Measurement(
            id="standby.uniform.sustained",
            title=title,
            unit=UNIT,
            loop="open",
            run=self.guest.measured(lambda _: self._sustained.run()),
            turns="long",
        )
        return [
            *(
                Measurement(id=f"standby.{one}", title=title, unit=UNIT, loop=loop, run=run)
                for one, title, loop, run in told
            ),
            uniform_sustained(self._host),
            sustained,
        ]


@contextmanager
def with_standby(host: Stage, folder: Path, *, settings: ClusterSettings, lanes: int) -> Iterator[WithStandby]:
    primary = Cluster(folder / "primary", settings=settings)
    try:
        primary.start()
        with standing_by(primary, folder / "standby") as standby:
            name = "the cell with a standby"
            yield WithStandby(host, new_guest(host, primary, folder / "cell", name=name, lanes=lanes, standby=standby))
            # The primary goes first: while it stops it hands over what its standby has not yet got.
            primary.stop()
    finally:
        primary.stop()


def _uniform(stage: Stage) -> Round:
    one, _ = stage.post(stage.wallets, stage.closed(concurrency=stage.scale.concurrency))
    stage.uniform_peak_per_s = one.value
    return one


def _hot(stage: Stage) -> Round:
    one, _ = stage.post(stage.wallets[:1], stage.closed(concurrency=stage.scale.concurrency))
    return one
