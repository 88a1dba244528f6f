"""A cell with very many wallets and entries: grown once, kept outside of the repository, copied for each run.

What is kept is named by everything that decides its rows: the schema, the forms of entries and ids, how it was grown,
how large it is, and the month, since entries of an earlier month would lie in another partition than those that a run
writes. When a new one is kept, those that it replaces go.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cellwallet.local.binaries import MAJOR_MIN
from cellwallet.local.databases import CELL_DATABASE
from cellwallet.local.postgres import Cluster, ClusterSettings
from contract.ids import WalletId
from contract.values import value
from loadtests.cell_under_test import CellUnderTest, cell_under_test
from loadtests.generator import Generator
from loadtests.growth import grow
from loadtests.load import Load, Openings, Pace, Postings
from loadtests.machine import ROOT
from loadtests.payloads import wallet_of

SOURCES = (
    "cell/store/migrations/versions/*.py",
    "cell/store/roles.sql",
    "contract/chain.py",
    "contract/ids.py",
    "contract/slots.py",
    "loadtests/growth.py",
)
BYTES_PER_ENTRY = 900
"""With its recorded outcome, its wallet's share and the indexes; measured 790."""
BYTES_OF_AN_AUDIT_PER_ENTRY = 600
"""Entries and outcomes are joined whole, by way of the disk."""
BYTES_OF_A_RUN = 512 * 1024**2
GROWING_WAL_GB = 2
"""What PostgreSQL keeps of its log is copied with it; without full pages, checkpoints are cheap."""
PATTERN_OWNER = "pattern"
PATTERN_TIMEOUT_S = 60.0


class DiskMustHaveRoomError(Exception):
    """A grown cell does not fit on the disk."""


class GrownCellMustBeMadeError(Exception):
    """The wallet that all others are made like could not be posted to, or the finished cell could not be copied."""


@value
class Growth:
    wallets: int
    entries_each: int
    overdraft_limit: int

    @property
    def entries(self) -> int:
        return self.wallets * self.entries_each

    def owners(self) -> dict[str, WalletId]:
        return {owner: wallet_of(owner) for owner in map("owner {}".format, range(self.wallets))}


@value
class GrownCell:
    """At rest; its PostgreSQL runs."""

    cell: CellUnderTest
    wallets: list[str]
    was_kept: bool
    """From an earlier run."""


@contextmanager
def grown_cell(
    growth: Growth,
    folder: Path,
    *,
    settings: ClusterSettings,
    lanes: int,
    generator: Generator,
    told: Callable[[], object] = lambda: None,
) -> Iterator[GrownCell]:
    """In `folder`, to be written to and thrown away; `told` is called `growth.entries_each` times if it has to grow.

    Raises:
        DiskMustHaveRoomError: nothing was begun.

    """
    kept = kept_folder(growth)
    _must_have_room(growth, folder, kept=kept, wal_gb=settings.wal_max_gb)
    folder.mkdir()
    was_kept = kept.exists()
    owners = growth.owners()
    if was_kept:
        _copy(kept / "pgdata", folder / "postgres" / "pgdata")
        _copy(kept / "keys", folder / "cell" / "keys")
    else:
        _grow(growth, owners, folder, settings=settings, lanes=lanes, generator=generator, told=told)
        _keep(folder, kept)
    if settings.is_durable:
        _write_down(folder)
    cluster = Cluster(folder / "postgres", settings=settings)
    try:
        cluster.start()
        with cell_under_test(cluster, folder / "cell", processes=0, lanes=lanes, is_new=False) as cell:
            yield GrownCell(cell=cell, wallets=list(owners.values()), was_kept=was_kept)
    finally:
        cluster.stop()


def kept_folder(growth: Growth) -> Path:
    """Where such a cell is kept, if it is; another form of anything that decides its rows is another folder."""
    digest = hashlib.sha256(f"{MAJOR_MIN} {datetime.now(UTC):%Y-%m} {growth}".encode())
    for source in SOURCES:
        for path in sorted(ROOT.glob(source)):
            digest.update(path.read_bytes())
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "cellwallet" / "grown-cells" / f"{_stem(growth)}{digest.hexdigest()[:16]}"


def _stem(growth: Growth) -> str:
    return f"{growth.wallets}x{growth.entries_each}-"


def _must_have_room(growth: Growth, folder: Path, *, kept: Path, wal_gb: int) -> None:
    rows = growth.entries * BYTES_PER_ENTRY
    size = rows + min(GROWING_WAL_GB * 1024**3, 2 * rows)
    log = min(wal_gb * 1024**3, 2 * rows) + BYTES_OF_A_RUN
    audit = growth.entries * BYTES_OF_AN_AUDIT_PER_ENTRY
    needs = {folder.parent: size + log + audit}
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        is_same_disk = kept.parent.stat().st_dev == folder.parent.stat().st_dev
        needs = {folder.parent: 2 * size + log + audit} if is_same_disk else needs | {kept.parent: size}
    for place, needed in needs.items():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise DiskMustHaveRoomError(
                f"a cell with {growth.entries:,} entries needs {needed / 1e9:.1f} GB at {place}, where "
                f"{free / 1e9:.1f} GB are free: make room, set TMPDIR or XDG_CACHE_HOME, or leave P6 out"
            )


def _grow(
    growth: Growth,
    owners: dict[str, WalletId],
    folder: Path,
    *,
    settings: ClusterSettings,
    lanes: int,
    generator: Generator,
    told: Callable[[], object],
) -> None:
    """Not durable meanwhile: who is interrupted begins again."""
    growing = replace(settings, is_durable=False, wal_max_gb=min(settings.wal_max_gb, GROWING_WAL_GB))
    cluster = Cluster(folder / "postgres", settings=growing)
    try:
        cluster.start()
        with cell_under_test(cluster, folder / "cell", processes=1, lanes=lanes) as cell:
            _post_pattern(cell, generator, overdraft_limit=growth.overdraft_limit)
        url, pattern = cluster.url(database=CELL_DATABASE), wallet_of(PATTERN_OWNER)
        grow(url, owners, pattern=pattern, entries_each=growth.entries_each, told=told)
    finally:
        cluster.stop()


def _post_pattern(cell: CellUnderTest, generator: Generator, *, overdraft_limit: int) -> None:
    opening = Openings(owners=[PATTERN_OWNER], token=cell.vendor_token("opener"), overdraft_limit=overdraft_limit)
    postings = Postings(wallets=[wallet_of(PATTERN_OWNER)], token=cell.vendor_token("grower"), duplicates=0)
    for asks, count in ((opening, 1), (postings, 2)):
        pace = Pace(duration_s=PATTERN_TIMEOUT_S, concurrency=1, count_max=count)
        tally = generator.run(Load(targets=cell.targets, asks=asks, pace=pace))
        if tally.accepted != count:
            raise GrownCellMustBeMadeError(
                f"the pattern: {tally.accepted} of {count}: {tally.statuses} {tally.samples}"
            )


def _keep(folder: Path, kept: Path) -> None:
    """By rename: an interrupted copy is not taken for one; nor is it in the way of the next."""
    draft = kept.with_name(f"{kept.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    _copy(folder / "postgres" / "pgdata", draft / "pgdata")
    _copy(folder / "cell" / "keys", draft / "keys")
    for replaced in kept.parent.glob(f"{kept.name.partition('-')[0]}-*"):
        if replaced != draft:
            shutil.rmtree(replaced, ignore_errors=True)
    draft.rename(kept)


def _write_down(folder: Path) -> None:
    """So that no figure pays for it."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    """With owners and modes, and without a second copy on disks that can share."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = ["cp", "--archive", "--reflink=auto", str(source), str(target)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if answer.returncode != 0:
        raise GrownCellMustBeMadeError(f"{source} could not be copied to {target}\n{answer.stderr}")
