"""Why a request was not done: one enum, ordered by precedence, and one table of what each reason means on the wire.

A reason states what must hold. Templates carry one placeholder (`{field}`, `{action}`) and are filled by
`Reason.code`. docs/status_codes.md is compared with this table by a test.
"""

from enum import StrEnum
from typing import Literal

from contract.values import value

Retry = Literal["never", "same_id", "new_id"]


class Reason(StrEnum):
    ROUTE_MUST_EXIST = "route_must_exist"
    METHOD_MUST_BE_ALLOWED = "method_must_be_allowed"
    BODY_MUST_FIT = "body_must_fit"
    CONTENT_TYPE_MUST_BE_JSON = "content_type_must_be_json"
    PATH_MUST_BE_WELL_FORMED = "path_must_be_well_formed"
    TOKEN_MUST_BE_VALID = "token_must_be_valid"
    SCOPE_MUST_ALLOW = "scope_must_allow_{action}"
    REQUEST_MUST_BE_WELL_FORMED = "request_must_be_well_formed"
    REQUEST_MUST_FIT_RATE_LIMIT = "request_must_fit_rate_limit"
    CELL_MUST_HAVE_CAPACITY = "cell_must_have_capacity"
    WALLET_MUST_BE_OWNED_BY_THIS_CELL = "wallet_must_be_owned_by_this_cell"
    CELL_MUST_BE_REACHABLE = "cell_must_be_reachable"
    WALLET_IS_MOVING = "wallet_is_moving"
    DEADLINE_MUST_NOT_PASS = "deadline_must_not_pass"
    WALLET_ID_MUST_MATCH_OWNER = "wallet_id_must_match_owner"
    WALLET_MUST_EXIST = "wallet_must_exist"
    TRANSACTION_MUST_EXIST = "transaction_must_exist"
    WEBHOOK_MUST_EXIST = "webhook_must_exist"
    WEBHOOKS_MUST_NOT_EXCEED_LIMIT = "webhooks_must_not_exceed_limit"
    CHECKPOINT_MUST_EXIST = "checkpoint_must_exist"
    WALLET_EXISTS_WITH_DIFFERENT = "wallet_exists_with_different_{field}"
    TRANSACTION_EXISTS_WITH_DIFFERENT = "transaction_exists_with_different_{field}"
    CURRENCY_MUST_MATCH_WALLET = "currency_must_match_wallet"
    WALLET_MUST_BE_ACTIVE = "wallet_must_be_active"
    WALLET_MUST_NOT_BE_CLOSED = "wallet_must_not_be_closed"
    ORIGINAL_MUST_EXIST = "original_must_exist"
    ORIGINAL_MUST_BE_REVERSIBLE = "original_must_be_reversible"
    REVERSAL_MUST_NOT_EXCEED_ORIGINAL = "reversal_must_not_exceed_original"
    HOLD_MUST_EXIST = "hold_must_exist"
    HOLD_MUST_BE_OPEN = "hold_must_be_open"
    CAPTURE_MUST_NOT_EXCEED_HOLD = "capture_must_not_exceed_hold"
    WALLETS_MUST_BE_DIFFERENT = "wallets_must_be_different"
    TARGET_WALLET_MUST_ACCEPT = "target_wallet_must_accept"
    AMOUNT_MUST_NOT_EXCEED_LIMIT = "amount_must_not_exceed_limit"
    AVAILABLE_BALANCE_MUST_COVER_AMOUNT = "available_balance_must_cover_amount"
    OVERDRAFT_LIMIT_MUST_COVER_BALANCE = "overdraft_limit_must_cover_balance"
    BALANCE_MUST_STAY_WITHIN_BOUNDS = "balance_must_stay_within_bounds"
    WALLET_MUST_BE_EMPTY_TO_CLOSE = "wallet_must_be_empty_to_close"
    WALLET_MUST_BE_IDLE_TO_CLOSE = "wallet_must_be_idle_to_close"
    REQUEST_MUST_NOT_BREAK_THE_CELL = "request_must_not_break_the_cell"

    def code(self, qualifier: str | None = None) -> str:
        """The wire code; templates need their qualifier."""
        if "{" not in self.value:
            return self.value
        if qualifier is None:
            raise ValueError(f"{self.value} needs a qualifier")
        return f"{self.value.partition('{')[0]}{qualifier}"

    @property
    def is_recorded(self) -> bool:
        """Whether the refusal is an entry of the wallet's log: every 422 from `currency_must_match_wallet` down."""
        return MEANINGS[self].is_recorded


@value
class Meaning:
    status: int
    retry: Retry
    title: str
    is_recorded: bool = False


def _refusal(title: str) -> Meaning:
    return Meaning(status=422, retry="new_id", title=title, is_recorded=True)


MEANINGS: dict[Reason, Meaning] = {
    Reason.ROUTE_MUST_EXIST: Meaning(status=404, retry="never", title="The route must exist"),
    Reason.METHOD_MUST_BE_ALLOWED: Meaning(status=405, retry="never", title="The method must be allowed"),
    Reason.BODY_MUST_FIT: Meaning(status=413, retry="never", title="The body must fit"),
    Reason.CONTENT_TYPE_MUST_BE_JSON: Meaning(status=415, retry="never", title="The content type must be JSON"),
    Reason.PATH_MUST_BE_WELL_FORMED: Meaning(status=400, retry="never", title="The path must be well formed"),
    Reason.TOKEN_MUST_BE_VALID: Meaning(status=401, retry="never", title="The token must be valid"),
    Reason.SCOPE_MUST_ALLOW: Meaning(status=403, retry="never", title="The scope must allow the action"),
    Reason.REQUEST_MUST_BE_WELL_FORMED: Meaning(status=400, retry="never", title="The request must be well formed"),
    Reason.REQUEST_MUST_FIT_RATE_LIMIT: Meaning(
        status=429, retry="same_id", title="The request must fit the vendor's rate limit"
    ),
    Reason.CELL_MUST_HAVE_CAPACITY: Meaning(status=429, retry="same_id", title="The cell must have capacity"),
    Reason.WALLET_MUST_BE_OWNED_BY_THIS_CELL: Meaning(
        status=421, retry="same_id", title="The wallet must be owned by this cell"
    ),
    Reason.CELL_MUST_BE_REACHABLE: Meaning(status=503, retry="same_id", title="The cell must be reachable"),
    Reason.WALLET_IS_MOVING: Meaning(status=503, retry="same_id", title="The wallet is moving"),
    Reason.DEADLINE_MUST_NOT_PASS: Meaning(status=504, retry="same_id", title="The deadline must not pass"),
    Reason.WALLET_ID_MUST_MATCH_OWNER: Meaning(
        status=422, retry="never", title="The wallet id must match its owner, kind and currency"
    ),
    Reason.WALLET_MUST_EXIST: Meaning(status=404, retry="same_id", title="The wallet must exist"),
    Reason.TRANSACTION_MUST_EXIST: Meaning(status=404, retry="same_id", title="The transaction must exist"),
    Reason.WEBHOOK_MUST_EXIST: Meaning(status=404, retry="same_id", title="The webhook must exist"),
    Reason.WEBHOOKS_MUST_NOT_EXCEED_LIMIT: Meaning(
        status=409, retry="never", title="The webhooks of a vendor must not exceed their limit"
    ),
    Reason.CHECKPOINT_MUST_EXIST: Meaning(
        status=404, retry="same_id", title="The checkpoint must exist and contain the wallet"
    ),
    Reason.WALLET_EXISTS_WITH_DIFFERENT: Meaning(
        status=409, retry="never", title="The wallet exists with a different field"
    ),
    Reason.TRANSACTION_EXISTS_WITH_DIFFERENT: Meaning(
        status=409, retry="never", title="The transaction exists with a different field"
    ),
    Reason.CURRENCY_MUST_MATCH_WALLET: _refusal("The currency must match the wallet"),
    Reason.WALLET_MUST_BE_ACTIVE: _refusal("The wallet must be active"),
    Reason.WALLET_MUST_NOT_BE_CLOSED: _refusal("The wallet must not be closed"),
    Reason.ORIGINAL_MUST_EXIST: _refusal("The original transaction must exist"),
    Reason.ORIGINAL_MUST_BE_REVERSIBLE: _refusal("The original transaction must be reversible"),
    Reason.REVERSAL_MUST_NOT_EXCEED_ORIGINAL: _refusal("Reversals must not exceed the original"),
    Reason.HOLD_MUST_EXIST: _refusal("The hold must exist"),
    Reason.HOLD_MUST_BE_OPEN: _refusal("The hold must be open"),
    Reason.CAPTURE_MUST_NOT_EXCEED_HOLD: _refusal("The capture must not exceed the hold"),
    Reason.WALLETS_MUST_BE_DIFFERENT: _refusal("The two wallets must be different"),
    Reason.TARGET_WALLET_MUST_ACCEPT: _refusal("The target wallet must accept"),
    Reason.AMOUNT_MUST_NOT_EXCEED_LIMIT: _refusal("The amount must not exceed the limit"),
    Reason.AVAILABLE_BALANCE_MUST_COVER_AMOUNT: _refusal("The available balance must cover the amount"),
    Reason.OVERDRAFT_LIMIT_MUST_COVER_BALANCE: _refusal("The overdraft limit must cover the balance"),
    Reason.BALANCE_MUST_STAY_WITHIN_BOUNDS: _refusal("The balance must stay within 2^53-1"),
    Reason.WALLET_MUST_BE_EMPTY_TO_CLOSE: _refusal("The wallet must be empty to close"),
    Reason.WALLET_MUST_BE_IDLE_TO_CLOSE: _refusal("The wallet must be idle to close"),
    # Never expected: the last resort for one command that the database refuses alone. It is a bug to be reported.
    Reason.REQUEST_MUST_NOT_BREAK_THE_CELL: Meaning(
        status=500, retry="same_id", title="The request must not break the cell"
    ),
}

MEANINGS_ON_READS: dict[Reason, Meaning] = {
    Reason.HOLD_MUST_EXIST: Meaning(status=404, retry="same_id", title="The hold must exist"),
}
"""What some refusals of commands mean where a read names what does not exist: nothing is decided, nothing recorded."""
