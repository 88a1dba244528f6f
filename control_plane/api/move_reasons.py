"""Why no move, cancellation, isolation or rejoining was taken up: reasons of moves on the wire, and what they mean."""

from enum import StrEnum

from contract.reasons import Meaning


class MoveProblem(StrEnum):
    MOVE_MUST_EXIST = "move_must_exist"
    MOVE_EXISTS_WITH_DIFFERENT_UNITS = "move_exists_with_different_units"
    MOVE_EXISTS_WITH_DIFFERENT_TARGET = "move_exists_with_different_target"
    UNIT_MUST_HAVE_AN_OWNER = "unit_must_have_an_owner"
    TARGET_CELL_MUST_BE_ACTIVE = "target_cell_must_be_active"
    UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE = "unit_must_not_be_in_another_move"
    UNITS_MUST_BE_IN_ONE_CELL = "units_must_be_in_one_cell"
    TARGET_CELL_MUST_BE_ANOTHER = "target_cell_must_be_another"
    SOURCE_CELL_MUST_BE_SERVING = "source_cell_must_be_serving"
    TARGET_CELL_MUST_HAVE_ROOM = "target_cell_must_have_room"
    MOVE_MUST_NOT_HAVE_ENDED = "move_must_not_have_ended"
    MOVE_MUST_BE_BEFORE_ITS_GRANT = "move_must_be_before_its_grant"
    ISOLATION_MUST_BE_FINISHED = "isolation_must_be_finished"
    UNIT_MUST_BE_IN_THE_CELL_OF_ITS_SLOT = "unit_must_be_in_the_cell_of_its_slot"
    ISOLATED_UNITS_MUST_NOT_EXCEED_LIMIT = "isolated_units_must_not_exceed_limit"
    CELL_MUST_ACCEPT = "cell_must_accept"


MOVE_MEANINGS: dict[MoveProblem, Meaning] = {
    MoveProblem.MOVE_MUST_EXIST: Meaning(status=404, retry="never", title="The move must exist"),
    MoveProblem.MOVE_EXISTS_WITH_DIFFERENT_UNITS: Meaning(
        status=409, retry="never", title="The move exists with different units"
    ),
    MoveProblem.MOVE_EXISTS_WITH_DIFFERENT_TARGET: Meaning(
        status=409, retry="never", title="The move exists with a different target"
    ),
    MoveProblem.UNIT_MUST_HAVE_AN_OWNER: Meaning(status=404, retry="never", title="The unit must have an owner"),
    MoveProblem.TARGET_CELL_MUST_BE_ACTIVE: Meaning(
        status=409, retry="same_id", title="The cell that units go to must be active"
    ),
    MoveProblem.UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE: Meaning(
        status=409, retry="same_id", title="The unit must not be in another move"
    ),
    MoveProblem.UNITS_MUST_BE_IN_ONE_CELL: Meaning(
        status=409, retry="never", title="The units of one move must be in one cell"
    ),
    MoveProblem.TARGET_CELL_MUST_BE_ANOTHER: Meaning(
        status=409, retry="never", title="The unit must not be in the cell that it goes to"
    ),
    MoveProblem.SOURCE_CELL_MUST_BE_SERVING: Meaning(
        status=409, retry="same_id", title="The cell that units leave must be serving"
    ),
    MoveProblem.TARGET_CELL_MUST_HAVE_ROOM: Meaning(
        status=409, retry="same_id", title="The cell that units go to must have room for them"
    ),
    MoveProblem.MOVE_MUST_NOT_HAVE_ENDED: Meaning(status=409, retry="never", title="The move must not have ended"),
    MoveProblem.MOVE_MUST_BE_BEFORE_ITS_GRANT: Meaning(
        status=409, retry="never", title="The source must not have granted the last units of the move"
    ),
    MoveProblem.ISOLATION_MUST_BE_FINISHED: Meaning(
        status=409, retry="same_id", title="The wallet must have arrived where it was sent before"
    ),
    MoveProblem.UNIT_MUST_BE_IN_THE_CELL_OF_ITS_SLOT: Meaning(
        status=409, retry="same_id", title="The wallet must be in the cell of its slot"
    ),
    MoveProblem.ISOLATED_UNITS_MUST_NOT_EXCEED_LIMIT: Meaning(
        status=409, retry="same_id", title="No more wallets may have a unit of their own"
    ),
    MoveProblem.CELL_MUST_ACCEPT: Meaning(status=409, retry="same_id", title="The cell must accept"),
}
