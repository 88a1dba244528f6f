"""`/v1/vendors/{id}`: what the platform allows a vendor; and the audit trail of operators' changes."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from contract.configuration import VendorPolicy
from contract.ids import VendorId
from contract.scopes import Scope
from control_plane.api.answers import described
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.bodies import (
    SUBJECT_PATTERN,
    ChangeAnswer,
    ChangesAnswer,
    VendorPath,
    VendorPolicyBody,
)
from control_plane.api.parts import parts_of
from control_plane.fleet.instants import instant_text
from control_plane.store.changes import Change, latest_changes
from control_plane.store.vendors import policy_of, put_policy

vendor_routes = APIRouter(route_class=ScopedRoute, tags=["vendors"])

Subject = Annotated[
    str | None, Query(pattern=SUBJECT_PATTERN, description="`vendor:<id>`, `cell:<id>` or `wallet:<id>`.")
]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(pattern=r"^[1-9][0-9]{0,17}$", description="`next_cursor` of the page before.")]


@vendor_routes.get(
    "/v1/vendors/{vendor_id}", response_model=None, responses=described(VendorPolicy, 400, 401, 403, 503)
)
@open_to(Scope.FLEET_READ)
async def show_vendor(request: Request, vendor_id: VendorPath) -> VendorPolicy:
    """The policy in force. Vendors need no entry: one that was never restricted has no restriction."""
    async with parts_of(request).database.transaction() as connection:
        return await policy_of(connection, VendorId(vendor_id))


@vendor_routes.put(
    "/v1/vendors/{vendor_id}", response_model=None, responses=described(VendorPolicy, 400, 401, 403, 503)
)
@open_to(Scope.FLEET_MANAGE)
async def put_vendor(request: Request, vendor_id: VendorPath, policy: VendorPolicyBody) -> VendorPolicy | Response:
    """Replaces the policy whole; every cell hears of it with its next configuration, within moments."""
    async with parts_of(request).database.transaction() as connection:
        await put_policy(
            connection,
            VendorId(vendor_id),
            VendorPolicy.model_validate(policy.model_dump()),
            actor=caller_of(request).subject,
            request_id=request.state.request_id,
        )
        return await policy_of(connection, VendorId(vendor_id))


@vendor_routes.get("/v1/changes", response_model=None, responses=described(ChangesAnswer, 400, 401, 403, 503))
@open_to(Scope.FLEET_READ)
async def list_changes(
    request: Request, subject: Subject = None, limit: Limit = 50, cursor: Cursor = None
) -> ChangesAnswer:
    """Who changed what and when, newest first."""
    async with parts_of(request).database.transaction() as connection:
        page = await latest_changes(connection, subject=subject, below_id=int(cursor) if cursor else None, limit=limit)
    return ChangesAnswer(
        changes=[_answer(change) for change in page],
        next_cursor=str(page[-1].id) if len(page) == limit else None,
    )


def _answer(change: Change) -> ChangeAnswer:
    return ChangeAnswer(
        at=instant_text(change.at),
        actor=change.actor,
        subject=change.subject,
        before=dict(change.before) if change.before is not None else None,
        after=dict(change.after) if change.after is not None else None,
        request_id=change.request_id,
    )
