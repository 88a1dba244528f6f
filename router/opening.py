"""`POST /v1/wallets`: the only body that the router reads, because the wallet's id is a function of it."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from contract.bodies import OpenWalletBody
from contract.ids import WalletId, wallet_id_of
from contract.problems import Problem
from contract.reasons import Reason

ERRORS_MAX = 20
TEXT_MAX = 200
"""Errors told, and characters of each: enough to mend a body, and no amplifier of a hostile one."""


def wallet_to_open(body: bytes) -> WalletId | Problem:
    """The id of the wallet that the body describes, or what is wrong with the body."""
    try:
        opening = OpenWalletBody.model_validate_json(body)
    except ValidationError as error:
        return problem_of(error)
    return wallet_id_of(
        owner_type=opening.owner.type, owner_ref=opening.owner.ref, kind=opening.kind, currency=opening.currency
    )


def problem_of(error: ValidationError) -> Problem:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    errors = [_told(one) for one in found[:ERRORS_MAX]]
    first = errors[0]
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"{first['pointer'] or 'The body'}: {first['message']}",
        facts={"errors": errors},
    )


def _told(error: Mapping[str, Any]) -> dict[str, str]:
    """One error as a JSON pointer (RFC 6901) and a sentence."""
    pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in error["loc"])
    return {"pointer": pointer[:TEXT_MAX], "message": str(error["msg"]).removeprefix("Value error, ")[:TEXT_MAX]}
