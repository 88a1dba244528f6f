"""Why a move waits or was given up: each reason states what must hold. Cells refuse with those of contract/moves.py."""

from enum import StrEnum


class StopReason(StrEnum):
    OPERATOR_MUST_NOT_HAVE_CANCELLED = "operator_must_not_have_cancelled"
    TARGET_CELL_MUST_BE_ACTIVE = "target_cell_must_be_active"
    SOURCE_CELL_MUST_BE_SERVING = "source_cell_must_be_serving"
    SOURCE_MUST_OWN_UNITS = "source_must_own_units"
    TARGET_MUST_NOT_OWN_UNITS = "target_must_not_own_units"
    SCHEMAS_MUST_BE_EQUAL = "schemas_must_be_equal"
    CLOCKS_MUST_AGREE = "clocks_must_agree"
    STANDBYS_MUST_BE_SYNCHRONOUS = "standbys_must_be_synchronous"
    CELLS_MUST_HAVE_FREE_PLACES = "cells_must_have_free_places"
    CELL_MUST_BE_REACHABLE = "cell_must_be_reachable"
    CELL_MUST_ACCEPT = "cell_must_accept"
    DIRECTORY_MUST_BE_PUBLISHED = "directory_must_be_published"
    ROUTERS_MUST_ACKNOWLEDGE = "routers_must_acknowledge"
    LOCKS_MUST_BE_FREE = "locks_must_be_free"
    FENCE_MUST_STAND = "fence_must_stand"
    ATTEMPTS_MUST_SUCCEED = "attempts_must_succeed"
    UNIT_MUST_CONVERGE = "unit_must_converge"
    ROWS_MUST_FOLD = "rows_must_fold"
    DIGESTS_MUST_MATCH = "digests_must_match"
