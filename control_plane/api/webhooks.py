"""`/v1/webhooks`: a vendor's own endpoints for events. Routers pass these requests on; cells never see them.

The caller is a vendor with `webhook:manage`, held to the policy that the platform has for it. Another vendor's webhook
is as unknown as one that never was. A secret is shown when it is made, and never again.
"""

import secrets
import uuid
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from contract.configuration import Webhook, WebhookSecret
from contract.ids import UUID_PATTERN, VendorId, is_vendor_id
from contract.reasons import Reason
from contract.scopes import Scope
from contract.webhooks import (
    SECRET_BYTES,
    WEBHOOKS_PER_VENDOR_MAX,
    NewWebhookAnswer,
    WebhookAnswer,
    WebhookBody,
    WebhooksAnswer,
    secret_of,
    url_flaw,
)
from control_plane.api.answers import described, refused
from control_plane.api.authorisation import ScopedRoute, caller_of, open_to
from control_plane.api.parts import parts_of
from control_plane.api.problems import Refusal, problem, scope_must_allow
from control_plane.fleet.instants import instant_text
from control_plane.store.vendors import policy_of
from control_plane.store.webhooks import StoredWebhook, add_webhook, remove_webhook, rotate_secret, webhooks_of

webhook_routes = APIRouter(route_class=ScopedRoute, tags=["webhooks"])

WebhookPath = Annotated[str, Path(pattern=UUID_PATTERN)]
WebhookQuery = Annotated[str, Query(alias="id", pattern=UUID_PATTERN, description="Which webhook.")]


@webhook_routes.get("/v1/webhooks", response_model=None, responses=described(WebhooksAnswer, 400, 401, 403, 503))
@open_to(Scope.WEBHOOK_MANAGE)
async def list_webhooks(request: Request) -> WebhooksAnswer | Response:
    vendor = await _vendor_of(request)
    if isinstance(vendor, Refusal):
        return problem(request, vendor)
    async with parts_of(request).database.transaction() as connection:
        return WebhooksAnswer(webhooks=[_answer(one) for one in await webhooks_of(connection, vendor)])


@webhook_routes.post(
    "/v1/webhooks",
    response_model=None,
    status_code=201,
    responses={201: {"model": NewWebhookAnswer}, **refused(400, 401, 403, 409, 503)},
)
@open_to(Scope.WEBHOOK_MANAGE)
async def create_webhook(request: Request, body: WebhookBody) -> NewWebhookAnswer | Response:
    """The answer is the only place where the secret is shown."""
    parts, vendor = parts_of(request), await _vendor_of(request)
    if isinstance(vendor, Refusal):
        return problem(request, vendor)
    flaw = url_flaw(body.url, may_be_local=parts.webhooks_may_be_local)
    if flaw is not None:
        errors = [{"in": "body", "pointer": "/url", "detail": flaw}]
        detail = f"/url: {flaw}"
        return problem(
            request, Refusal(reason=Reason.REQUEST_MUST_BE_WELL_FORMED, detail=detail, facts={"errors": errors})
        )
    secret = secret_of(secrets.token_bytes(SECRET_BYTES))
    webhook = Webhook(
        id=str(uuid.uuid4()),
        vendor_id=vendor,
        url=body.url,
        kinds=None if body.kinds is None else tuple(sorted(set(body.kinds))),
        secrets=(WebhookSecret(secret=secret),),
    )
    async with parts.database.transaction() as connection:
        added = await add_webhook(
            connection, webhook, at_most=WEBHOOKS_PER_VENDOR_MAX, request_id=request.state.request_id
        )
    if added == "too_many":
        detail = f"a vendor may have {WEBHOOKS_PER_VENDOR_MAX} webhooks"
        return problem(request, Refusal(reason=Reason.WEBHOOKS_MUST_NOT_EXCEED_LIMIT, detail=detail))
    return _new_answer(added, secret)


@webhook_routes.delete(
    "/v1/webhooks/{webhook_id}",
    response_model=None,
    responses=described(WebhooksAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.WEBHOOK_MANAGE)
async def delete_webhook(request: Request, webhook_id: WebhookPath) -> WebhooksAnswer | Response:
    """Nothing more is sent to it, and its dead letters are forgotten. The answer lists what is left."""
    return await _deleted(request, webhook_id)


@webhook_routes.delete(
    "/v1/webhooks", response_model=None, responses=described(WebhooksAnswer, 400, 401, 403, 404, 503)
)
@open_to(Scope.WEBHOOK_MANAGE)
async def delete_named_webhook(request: Request, webhook_id: WebhookQuery) -> WebhooksAnswer | Response:
    """The same as `DELETE /v1/webhooks/{webhook_id}`."""
    return await _deleted(request, webhook_id)


@webhook_routes.post(
    "/v1/webhooks/{webhook_id}/rotate",
    response_model=None,
    responses=described(NewWebhookAnswer, 400, 401, 403, 404, 503),
)
@open_to(Scope.WEBHOOK_MANAGE)
async def rotate_webhook(request: Request, webhook_id: WebhookPath) -> NewWebhookAnswer | Response:
    """A new secret; for a day the one before signs as well."""
    vendor = await _vendor_of(request)
    if isinstance(vendor, Refusal):
        return problem(request, vendor)
    secret = secret_of(secrets.token_bytes(SECRET_BYTES))
    async with parts_of(request).database.transaction() as connection:
        changed = await rotate_secret(
            connection, vendor, webhook_id, secret=secret, request_id=request.state.request_id
        )
    return problem(request, _unknown(webhook_id)) if changed is None else _new_answer(changed, secret)


async def _deleted(request: Request, webhook_id: str) -> WebhooksAnswer | Response:
    vendor = await _vendor_of(request)
    if isinstance(vendor, Refusal):
        return problem(request, vendor)
    async with parts_of(request).database.transaction() as connection:
        if not await remove_webhook(connection, vendor, webhook_id, request_id=request.state.request_id):
            return problem(request, _unknown(webhook_id))
        return WebhooksAnswer(webhooks=[_answer(one) for one in await webhooks_of(connection, vendor)])


async def _vendor_of(request: Request) -> VendorId | Refusal:
    """The vendor of the token, if the platform lets it: what cells hold vendors to holds here too."""
    caller = caller_of(request)
    if caller.signer != "issuer" or not is_vendor_id(caller.subject):
        return Refusal(reason=Reason.TOKEN_MUST_BE_VALID, detail="the token's subject (sub) must be a vendor")
    vendor = VendorId(caller.subject)
    async with parts_of(request).database.transaction() as connection:
        policy = await policy_of(connection, vendor)
    if policy.blocked:
        return Refusal(reason=Reason.TOKEN_MUST_BE_VALID, detail="the vendor is blocked")
    if policy.scopes_allowed is not None and Scope.WEBHOOK_MANAGE not in policy.scopes_allowed:
        return scope_must_allow(Scope.WEBHOOK_MANAGE)
    return vendor


def _unknown(webhook_id: str) -> Refusal:
    return Refusal(reason=Reason.WEBHOOK_MUST_EXIST, detail=f"there is no webhook {webhook_id}")


def _answer(stored: StoredWebhook) -> WebhookAnswer:
    return WebhookAnswer.model_validate(_fields(stored))


def _new_answer(stored: StoredWebhook, secret: str) -> NewWebhookAnswer:
    return NewWebhookAnswer.model_validate({**_fields(stored), "secret": secret})


def _fields(stored: StoredWebhook) -> dict[str, object]:
    return {
        "id": stored.id,
        "url": stored.url,
        "kinds": stored.kinds,
        "created_at": instant_text(stored.created_at),
        "secret_changed_at": instant_text(stored.secret_changed_at),
    }
