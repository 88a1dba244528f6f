"""What a move costs, from what was measured of one: how long it takes, and for how long wallets wait in it."""

from contract.values import value
from control_plane.fleet.board import PlannedMove
from control_plane.fleet.placing import Picture


@value
class Costs:
    copied_entries_per_s: float = 5_000.0
    """Of one move, throttled to a twentieth of a cell's CPU."""
    step_s: float = 0.5
    """Announcing, staging and publishing, per portion of a move."""
    pause_ms: float = 80.0
    """For the wallets of a unit; units are fenced one after the other."""

    def duration_s(self, move: PlannedMove, picture: Picture) -> float:
        units = move.units or ((move.unit_of_wallet,) if move.unit_of_wallet is not None else ())
        entries = sum(picture.load_of(unit).entries for unit in units)
        return self.step_s + entries / self.copied_entries_per_s + len(units) * self.pause_ms / 1_000
