"""What a move publishes says the same of an evacuated zone as everybody else: it must not send traffic back there."""

from dataclasses import replace

from fleet_world import NOON, cell, fleet_of

from contract.ids import CellId
from control_plane.fleet.model import OwnedRun
from control_plane.fleet.publish import Publication, directory_of
from control_plane.moves.model import MovedUnit, MoveRecord
from control_plane.moves.publication import changes_of, publication_of

HALVES = (OwnedRun(first=0, last=8191, cell="a"), OwnedRun(first=8192, last=16383, cell="b"))


def test_a_publication_of_a_move_keeps_an_evacuated_zone_at_weight_zero() -> None:
    fleet = replace(
        fleet_of((cell("a", "active"), cell("b", "active")), *HALVES), evacuated_zones=frozenset({"zone-a"})
    )
    fleet = replace(fleet, directory=directory_of(fleet, NOON))
    move = MoveRecord(
        id="m-1",
        from_cell=CellId("a"),
        to_cell=CellId("b"),
        state="planned",
        units=(MovedUnit(unit=7, from_epoch=1, result="in_hand", portion=1),),
        portion=1,
        ordered_by="olga",
        ordered_at=NOON,
        changed_at=NOON,
    )
    publication = publication_of(fleet, changes_of(move, "moving", fleet), NOON)
    assert isinstance(publication, Publication)
    assert publication.document.moving == (7,)
    assert {name: one.zone_weights for name, one in publication.document.cells.items()} == {
        "a": {"zone-a": 0},
        "b": {"zone-a": 0},
    }
