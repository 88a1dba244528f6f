"""Why the control plane does not act: each reason states what must hold before it will.

A plan lists them next to its actions, so that "nothing happens" always has an answer.
"""

from enum import StrEnum

from contract.values import value


class WaitReason(StrEnum):
    CELL_MUST_SHOW_SIGNS_OF_LIFE = "cell_must_show_signs_of_life"
    ADMIN_MUST_BE_REACHABLE = "admin_must_be_reachable"
    INSTANCES_MUST_AGREE_ON_SCHEMA_REVISION = "instances_must_agree_on_schema_revision"
    SCHEMA_REVISION_MUST_BE_KNOWN = "schema_revision_must_be_known"
    FIRST_CELLS_MUST_BE_READY = "first_cells_must_be_ready"
    FIRST_CELLS_MUST_BE_EMPTY = "first_cells_must_be_empty"
    CELL_UNITS_MUST_MATCH_ASSIGNMENT = "cell_units_must_match_assignment"
    FIRST_UNITS_MUST_BE_CONFIRMED = "first_units_must_be_confirmed"
    UNITS_MUST_ARRIVE_BY_MOVES = "units_must_arrive_by_moves"
    CHANGES_MUST_BE_RECORDED_BEFORE_PUBLICATION = "changes_must_be_recorded_before_publication"
    ROUTERS_MUST_NOT_BE_AHEAD = "routers_must_not_be_ahead"
    UNITS_MUST_NOT_DISAPPEAR = "units_must_not_disappear"
    EPOCHS_MUST_NOT_DECREASE = "epochs_must_not_decrease"
    EPOCH_MUST_RISE_WITH_NEW_OWNER = "epoch_must_rise_with_new_owner"
    REASSIGNED_SHARE_MUST_BE_ALLOWED = "reassigned_share_must_be_allowed"
    DROPPED_CELL_MUST_BE_ALLOWED = "dropped_cell_must_be_allowed"
    CELL_MUST_HAVE_GIVEN_UNITS_AWAY = "cell_must_have_given_units_away"
    # Of moving units.
    ANOTHER_CELL_MUST_BE_ACTIVE = "another_cell_must_be_active"
    LOADS_MUST_BE_KNOWN = "loads_must_be_known"
    TARGET_MUST_HAVE_ROOM = "target_must_have_room"
    PLACEMENT_MUST_BE_DONE_FIRST = "placement_must_be_done_first"
    IMBALANCE_MUST_EXCEED_TOLERANCE = "imbalance_must_exceed_tolerance"
    IMBALANCE_MUST_LAST = "imbalance_must_last"
    CELLS_MUST_BE_CERTIFIED = "cells_must_be_certified"
    UNIT_MUST_NOT_BE_IN_ANOTHER_MOVE = "unit_must_not_be_in_another_move"
    FAILED_MOVE_MUST_REST = "failed_move_must_rest"
    MOVED_UNIT_MUST_REST = "moved_unit_must_rest"
    HOT_WALLET_MUST_BURDEN_ITS_CELL = "hot_wallet_must_burden_its_cell"
    WALLET_MUST_FIT_INTO_ONE_CELL = "wallet_must_fit_into_one_cell"
    ISOLATED_WALLETS_MUST_BE_FEWER = "isolated_wallets_must_be_fewer"
    MOVE_MUST_BE_ORDERABLE = "move_must_be_orderable"
    CONCURRENT_MOVES_MUST_BE_FEWER = "concurrent_moves_must_be_fewer"


@value
class Waiting:
    """One inaction: what must hold, about whom, and the facts of the moment."""

    reason: WaitReason
    subject: str
    detail: str
