"""Why the control plane did not do it, where no reason of the contract fits; same style, same shape on the wire."""

from enum import StrEnum

from contract.reasons import Meaning


class PlatformReason(StrEnum):
    TOKEN_MUST_NAME_THIS_CELL = "token_must_name_this_cell"  # noqa: S105 - a reason, no password
    TOKEN_MUST_NAME_THIS_ROUTER = "token_must_name_this_router"  # noqa: S105 - the same
    CELL_MUST_EXIST = "cell_must_exist"
    CELL_MUST_NOT_BE_RETIRED = "cell_must_not_be_retired"
    CELL_MUST_KEEP_ITS_KEY = "cell_must_keep_its_key"
    CERTIFICATE_MUST_NAME_THIS_CELL = "certificate_must_name_this_cell"
    CERTIFICATE_MUST_BE_OF_THIS_VERSION = "certificate_must_be_of_this_version"
    CERTIFICATE_MUST_BE_SOUND = "certificate_must_be_sound"
    LIMITS_MUST_FIT_THE_CONFIGURATION = "limits_must_fit_the_configuration"
    CELL_MUST_BE_READY = "cell_must_be_ready"
    ANOTHER_CELL_MUST_BE_ACTIVE = "another_cell_must_be_active"
    EVACUATION_MUST_HAVE_ENDED = "evacuation_must_have_ended"
    CELL_MUST_BE_EMPTY = "cell_must_be_empty"
    CELL_MUST_OWN_NO_UNIT = "cell_must_own_no_unit"
    TRANSFERS_MUST_BE_SETTLED = "transfers_must_be_settled"
    EVENTS_MUST_BE_PUBLISHED = "events_must_be_published"
    CELL_MUST_ANSWER = "cell_must_answer"
    CELL_MUST_NOT_HAVE_CHANGED = "cell_must_not_have_changed"
    MOVES_MUST_HAVE_ENDED = "moves_must_have_ended"
    CLAIMS_MUST_AGREE = "claims_must_agree"
    CELL_MUST_BE_QUARANTINED = "cell_must_be_quarantined"
    CELL_MUST_NOT_BE_QUARANTINED = "cell_must_not_be_quarantined"
    RESTORE_MUST_BE_KNOWN = "restore_must_be_known"
    UNITS_MUST_NOT_BE_MISSING = "units_must_not_be_missing"
    LEDGER_MUST_BE_WHOLE = "ledger_must_be_whole"
    CHANGE_MUST_BE_ALLOWED = "change_must_be_allowed"
    DIRECTORY_MUST_BE_PUBLISHED = "directory_must_be_published"
    CONFIGURATION_MUST_BE_PUBLISHED = "configuration_must_be_published"
    DATABASE_MUST_BE_READY = "database_must_be_ready"
    SCHEMA_MUST_BE_CURRENT = "schema_must_be_current"
    REQUEST_MUST_NOT_BREAK_THE_CONTROL_PLANE = "request_must_not_break_the_control_plane"


PLATFORM_MEANINGS: dict[PlatformReason, Meaning] = {
    PlatformReason.TOKEN_MUST_NAME_THIS_CELL: Meaning(status=403, retry="never", title="The token must name this cell"),
    PlatformReason.TOKEN_MUST_NAME_THIS_ROUTER: Meaning(
        status=403, retry="never", title="The token must name this router"
    ),
    PlatformReason.CELL_MUST_EXIST: Meaning(status=404, retry="same_id", title="The cell must exist"),
    PlatformReason.CELL_MUST_NOT_BE_RETIRED: Meaning(status=409, retry="never", title="The cell must not be retired"),
    PlatformReason.CELL_MUST_KEEP_ITS_KEY: Meaning(status=409, retry="never", title="The cell must keep its key"),
    PlatformReason.CERTIFICATE_MUST_NAME_THIS_CELL: Meaning(
        status=409, retry="never", title="The certificate must name this cell"
    ),
    PlatformReason.CERTIFICATE_MUST_BE_OF_THIS_VERSION: Meaning(
        status=409, retry="never", title="The certificate must be of the version that the cell runs"
    ),
    PlatformReason.CERTIFICATE_MUST_BE_SOUND: Meaning(
        status=409, retry="never", title="The certificate must be one to rely on"
    ),
    PlatformReason.LIMITS_MUST_FIT_THE_CONFIGURATION: Meaning(
        status=409, retry="never", title="The limits must fit the configuration"
    ),
    PlatformReason.CELL_MUST_BE_READY: Meaning(status=409, retry="never", title="The cell must be ready"),
    PlatformReason.ANOTHER_CELL_MUST_BE_ACTIVE: Meaning(status=409, retry="never", title="Another cell must be active"),
    PlatformReason.EVACUATION_MUST_HAVE_ENDED: Meaning(
        status=409, retry="never", title="The evacuation of a zone must have ended"
    ),
    PlatformReason.CELL_MUST_BE_EMPTY: Meaning(status=409, retry="never", title="The cell must be empty"),
    PlatformReason.CELL_MUST_OWN_NO_UNIT: Meaning(status=409, retry="never", title="The cell must own no unit"),
    PlatformReason.TRANSFERS_MUST_BE_SETTLED: Meaning(
        status=409, retry="never", title="The transfers and groups of the cell must be settled"
    ),
    PlatformReason.EVENTS_MUST_BE_PUBLISHED: Meaning(
        status=409, retry="never", title="The events of the cell must be published"
    ),
    PlatformReason.CELL_MUST_ANSWER: Meaning(status=503, retry="same_id", title="The cell must answer"),
    PlatformReason.CELL_MUST_NOT_HAVE_CHANGED: Meaning(
        status=409, retry="never", title="The cell must not have changed meanwhile"
    ),
    PlatformReason.MOVES_MUST_HAVE_ENDED: Meaning(status=409, retry="never", title="All moves must have ended"),
    PlatformReason.CLAIMS_MUST_AGREE: Meaning(
        status=409, retry="never", title="Every slot must have exactly one owner"
    ),
    PlatformReason.CELL_MUST_BE_QUARANTINED: Meaning(status=409, retry="never", title="The cell must be quarantined"),
    PlatformReason.CELL_MUST_NOT_BE_QUARANTINED: Meaning(
        status=409, retry="never", title="The cell must not be quarantined"
    ),
    PlatformReason.RESTORE_MUST_BE_KNOWN: Meaning(
        status=409, retry="never", title="The instant to which the cell was restored must be known"
    ),
    PlatformReason.UNITS_MUST_NOT_BE_MISSING: Meaning(
        status=409, retry="never", title="Units that came to the cell must not be missing in it"
    ),
    PlatformReason.LEDGER_MUST_BE_WHOLE: Meaning(
        status=409, retry="never", title="The ledger of the cell must be whole"
    ),
    PlatformReason.CHANGE_MUST_BE_ALLOWED: Meaning(
        status=409, retry="never", title="A change of so many units must be allowed explicitly"
    ),
    PlatformReason.DIRECTORY_MUST_BE_PUBLISHED: Meaning(
        status=503, retry="same_id", title="The directory must be published"
    ),
    PlatformReason.CONFIGURATION_MUST_BE_PUBLISHED: Meaning(
        status=503, retry="same_id", title="The configuration must be published"
    ),
    PlatformReason.DATABASE_MUST_BE_READY: Meaning(
        status=503, retry="same_id", title="The control plane's database must be ready"
    ),
    PlatformReason.SCHEMA_MUST_BE_CURRENT: Meaning(
        status=503, retry="same_id", title="The schema must be the one that this version was made for"
    ),
    # Never expected: the last resort of the process boundary. It is a bug to be reported.
    PlatformReason.REQUEST_MUST_NOT_BREAK_THE_CONTROL_PLANE: Meaning(
        status=500, retry="same_id", title="The request must not break the control plane"
    ),
}
