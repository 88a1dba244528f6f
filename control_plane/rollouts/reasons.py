"""Why a rollout waits, was stopped, or was never begun: each reason states what must hold."""

from enum import StrEnum


class RolloutReason(StrEnum):
    """Why nothing happens, or why it was stopped."""

    ROLLOUT_MUST_NOT_BE_PAUSED = "rollout_must_not_be_paused"
    EVACUATION_MUST_HAVE_ENDED = "evacuation_must_have_ended"
    CELLS_MUST_BE_SERVING = "cells_must_be_serving"
    MOVES_OF_CELLS_MUST_HAVE_ENDED = "moves_of_cells_must_have_ended"
    CELLS_MUST_BE_REACHABLE = "cells_must_be_reachable"
    IMAGE_MUST_BE_THE_RECORDED_ONE = "image_must_be_the_recorded_one"
    SUBSTRATE_MUST_ACCEPT = "substrate_must_accept"
    SCHEMA_MUST_BE_MIGRATED = "schema_must_be_migrated"
    PROCESSES_MUST_BECOME_READY = "processes_must_become_ready"
    WINDOW_MUST_BE_OVER = "window_must_be_over"
    WINDOWS_MUST_BE_CONCLUSIVE = "windows_must_be_conclusive"
    WINDOWS_MUST_BE_GOOD = "windows_must_be_good"
    LEDGER_MUST_BE_WHOLE = "ledger_must_be_whole"
    AUDIT_MUST_BE_POSSIBLE = "audit_must_be_possible"
    OPERATOR_MUST_NOT_HAVE_CANCELLED = "operator_must_not_have_cancelled"
    OPERATOR_MUST_NOT_HAVE_ROLLED_BACK = "operator_must_not_have_rolled_back"


class RolloutRefusal(StrEnum):
    """Why an order was not taken, in order of precedence."""

    ROLLOUT_MUST_BE_POSSIBLE_HERE = "rollout_must_be_possible_here"
    ROLLOUT_EXISTS_WITH_DIFFERENT_RELEASE = "rollout_exists_with_different_release"
    ANOTHER_ROLLOUT_MUST_HAVE_ENDED = "another_rollout_must_have_ended"
    EVACUATION_MUST_HAVE_ENDED = "evacuation_must_have_ended"
    CELLS_MUST_BE_THERE = "cells_must_be_there"
    CANARY_MUST_BE_A_SERVING_CELL = "canary_must_be_a_serving_cell"
    CELLS_MUST_TELL_WHAT_THEY_RUN = "cells_must_tell_what_they_run"
    RELEASE_MUST_BE_KNOWN = "release_must_be_known"
    RELEASE_MUST_BE_ANOTHER = "release_must_be_another"
    SCHEMA_MUST_NOT_GO_BACK = "schema_must_not_go_back"
    SCHEMA_MUST_ALLOW_THE_WAY_BACK = "schema_must_allow_the_way_back"
    RELEASE_MUST_BE_CERTIFIED = "release_must_be_certified"
    RELEASE_MUST_CARRY_AS_MUCH = "release_must_carry_as_much"
