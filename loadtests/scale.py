"""How large and how long a run is: in full, or quick. Pure."""

from dataclasses import replace

from contract.values import value


@value
class MoveScale:
    """Of the moves under load."""

    wallets: int = 600
    """Of the slot that is moved."""
    slot_per_s: float = 600
    hot_per_s: float = 500
    moves_each: int = 20
    """Of the slot and of the hot wallet in a round, there and back in turn."""
    long_wallets: int = 20
    long_entries: int = 1_000_000
    long_per_s: float = 100
    long_moves: int = 4
    neighbours: int = 1_000
    """Wallets of both cells that do not move."""
    neighbours_per_s: float = 200
    still_s: float = 10
    """Before the first move."""
    rest_s: float = 1
    """After each move."""


@value
class FailoverScale:
    """Of the changes of roles between a cell's two databases, under load."""

    wallets: int = 500
    per_s: float = 400
    kills: int = 6
    """In a round; each on the primary that the one before has made."""
    switches: int = 6
    still_s: float = 5
    """Before each."""


@value
class Scale:
    wallets: int
    rounds: int
    warm_up_s: float
    """Before each closed loop; not measured."""
    peak_s: float
    """Measured time of a closed loop, and of a peer."""
    laps: int
    """Turns of the brief measurements in a round."""
    long_laps: int
    """And of those of minutes."""
    probe_s: float
    """Of each try of the search for the highest sustained rate."""
    confirm_s: float
    """The rate that was found has to hold for so long: that is the figure."""
    log_files: int
    """Of PostgreSQL's log, 16 MB each, that are made before anything is measured."""
    tries: int
    precision: float
    history: int
    """Entries of the long wallet."""
    grown_wallets: int
    grown_entries_each: int
    """Of each wallet of the cell with a long past."""
    grown_warm_s: float
    """How long the large and the small cell are posted to before each measurement of them."""
    moves: MoveScale = MoveScale()
    failovers: FailoverScale = FailoverScale()
    memory_s: float = 600.0
    """How long memory is watched under load."""
    concurrency: int = 128
    """Requests under way in a closed loop; enough to fill batches, few enough for a latency that says something."""
    read_concurrency: int = 64
    overdraft_limit: int = 1_000_000_000_000
    """Of every wallet: funds are checked for each debit, and nobody has to be paid in first."""


FULL = Scale(
    wallets=100_000,
    rounds=3,
    warm_up_s=1,
    peak_s=2.5,
    laps=6,
    long_laps=3,
    probe_s=6,
    confirm_s=60,
    log_files=256,
    tries=6,
    precision=0.05,
    history=1_000_000,
    grown_wallets=1_000_000,
    grown_entries_each=20,
    grown_warm_s=60,
)
QUICK = Scale(
    wallets=5_000,
    rounds=1,
    warm_up_s=0.5,
    peak_s=1,
    laps=1,
    long_laps=1,
    probe_s=1,
    confirm_s=1.5,
    log_files=8,
    tries=3,
    precision=0.2,
    history=100_000,
    grown_wallets=10_000,
    grown_entries_each=10,
    grown_warm_s=1,
    memory_s=6,
    failovers=FailoverScale(wallets=50, per_s=100, kills=1, switches=2, still_s=1),
    moves=MoveScale(
        wallets=30,
        slot_per_s=100,
        hot_per_s=100,
        moves_each=2,
        long_wallets=10,
        long_entries=5_000,
        long_per_s=50,
        long_moves=2,
        neighbours=100,
        neighbours_per_s=50,
        still_s=1.5,
        rest_s=0.5,
    ),
)


GROWN_TIMES = 10
"""The wallets of the cell with a long past, at most, over those of the run."""


def shrunk(
    scale: Scale, *, wallets: int | None, rounds: int | None, seconds: float | None, history: int | None
) -> Scale:
    """With what was asked for; `seconds` becomes the time of every measurement."""
    if seconds is not None:
        scale = replace(
            scale,
            warm_up_s=min(scale.warm_up_s, seconds / 4),
            peak_s=seconds,
            probe_s=seconds,
            confirm_s=seconds,
            memory_s=min(scale.memory_s, 4 * seconds),
            grown_warm_s=min(scale.grown_warm_s, seconds),
            moves=replace(scale.moves, still_s=min(scale.moves.still_s, seconds)),
            failovers=replace(scale.failovers, still_s=min(scale.failovers.still_s, seconds)),
        )
    moves = replace(scale.moves, long_entries=min(scale.moves.long_entries, history or scale.moves.long_entries))
    if wallets:
        moves = replace(moves, wallets=min(moves.wallets, wallets), neighbours=min(moves.neighbours, wallets))
    return replace(
        scale,
        wallets=wallets or scale.wallets,
        grown_wallets=min(scale.grown_wallets, GROWN_TIMES * wallets) if wallets else scale.grown_wallets,
        rounds=rounds or scale.rounds,
        history=history or scale.history,
        moves=moves,
    )
