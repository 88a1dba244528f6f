"""One OpenAPI document for the lean routes and the ordinary ones."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from cell.api.bulk import OPERATIONS
from cell.api.write_routes import COLLECTION, HOLD_ID, OPENING, PREFIX, WRITE_ROUTES, WriteRoute
from contract.answers import GroupAnswer, PostingAnswer, ProblemAnswer, WalletAnswer
from contract.bulk import BULK_PATH, BulkAnswer, BulkBody
from contract.headers import DEADLINE_MAX_MS, DEADLINE_MS, REQUEST_ID
from contract.ids import UUID_PATTERN
from contract.reasons import MEANINGS, MEANINGS_ON_READS, Reason

REF = "#/components/schemas/{model}"
_SHARED_STATUSES = (400, 401, 403, 413, 415, 421, 429, 503, 504)
_WHOLE_STATUSES = (400, 401, 413, 415, 429, 503, 504)
"""Of a bulk request as a whole; all others are those of its operations."""
_STATUSES = {"posting": (404, 409, 422), "wallet": (404, 409, 422), "group": (404, 409, 422)}
_ANSWERS: dict[str, type[BaseModel]] = {"posting": PostingAnswer, "wallet": WalletAnswer, "group": GroupAnswer}


def openapi_document(app: FastAPI, *, version: str) -> dict[str, Any]:
    document = get_openapi(
        title="cellwallet: vendor API",
        version=version,
        summary="Wallets, money and their history. Every refusal is a problem document that says what must hold.",
        routes=app.routes,
    )
    models: list[type[BaseModel]] = [
        *{route.body for route in WRITE_ROUTES},
        *_ANSWERS.values(),
        *(operation.body for operation in OPERATIONS.values()),
        BulkBody,
        BulkAnswer,
        ProblemAnswer,
    ]
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REF)
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas["$defs"])
    components["schemas"].pop("HTTPValidationError", None)
    components["schemas"].pop("ValidationError", None)
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    document["security"] = [{"bearer": []}]
    for route in WRITE_ROUTES:
        path = f"{PREFIX}{{wallet_id}}" + (f"/{route.verb}" if route.verb else "")
        document["paths"].setdefault(path, {})[route.method.lower()] = _operation(route, names_wallet=True)
    document["paths"][COLLECTION] = {"post": _operation(OPENING, names_wallet=False)}
    components["schemas"]["BulkBody"]["properties"]["operations"]["items"] = {
        "oneOf": [_ref(operation.body.__name__) for operation in OPERATIONS.values()]
    }
    document["paths"][BULK_PATH] = {"post": _bulk_operation()}
    for operations in document["paths"].values():
        for operation in operations.values():
            _describe_problems(operation)
    return document


def _operation(route: WriteRoute, *, names_wallet: bool) -> dict[str, Any]:
    answer = _ANSWERS[route.answer]
    done = {"description": "Done", "content": {"application/json": {"schema": _ref(answer.__name__)}}}
    is_opening = route is OPENING
    reaches_beyond = route.verb in {"transfers", "groups"}
    statuses = (
        ("200", "201")
        if is_opening
        else ("201", "202")
        if reaches_beyond
        else ("201",)
        if route.answer == "posting"
        else ("200",)
    )
    return {
        "summary": route.title,
        "operationId": f"{route.method.lower()}_{_name_of(route)}" + ("" if names_wallet else "_by_owner"),
        "description": f"Needs the scope `{route.scope.value}`.",
        "parameters": [
            *([_id_in_path("wallet_id")] if names_wallet else []),
            *([_id_in_path("hold_id")] if HOLD_ID in route.verb else []),
            _REQUEST_ID,
            _DEADLINE,
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(route.body.__name__)}}},
        "responses": dict.fromkeys(statuses, done)
        | {str(status): {} for status in (*_SHARED_STATUSES, *_STATUSES[route.answer])},
    }


def _bulk_operation() -> dict[str, Any]:
    return {
        "summary": "Many operations at once, each for itself",
        "operationId": "post_bulk",
        "description": "Each result is what the single call would have answered, in the order of the operations; "
        "those of one wallet are applied in order. Each needs the scope of its single call.",
        "parameters": [_REQUEST_ID, _DEADLINE],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref("BulkBody")}}},
        "responses": {
            "200": {"description": "Done", "content": {"application/json": {"schema": _ref("BulkAnswer")}}},
            **{str(status): {} for status in _WHOLE_STATUSES},
        },
    }


def _name_of(route: WriteRoute) -> str:
    return "_".join(step for step in route.verb.split("/") if step != HOLD_ID) or "wallet"


def _id_in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": UUID_PATTERN}}


def _describe_problems(operation: dict[str, Any]) -> None:
    """Every status of the table of reasons that the operation may give, with the reasons behind it."""
    responses = operation["responses"]
    responses.pop("422", None) if operation.get("requestBody") is None else None
    for status in (*_SHARED_STATUSES, 404) if operation.get("requestBody") is None else ():
        responses.setdefault(str(status), {})
    for status, response in responses.items():
        if int(status) >= 400:
            response.clear()
            response["description"] = ", ".join(reason.value for reason in Reason if status in _statuses_of(reason))
            response["content"] = {"application/problem+json": {"schema": _ref("ProblemAnswer")}}


def _statuses_of(reason: Reason) -> set[str]:
    return {str(meanings[reason].status) for meanings in (MEANINGS, MEANINGS_ON_READS) if reason in meanings}


def _ref(model: str) -> dict[str, str]:
    return {"$ref": REF.format(model=model)}


_REQUEST_ID = {
    "name": REQUEST_ID,
    "in": "header",
    "required": False,
    "description": "Taken if it is 1-128 letters, digits, dots, dashes and underscores; otherwise one is made.",
    "schema": {"type": "string"},
}
_DEADLINE = {
    "name": DEADLINE_MS,
    "in": "header",
    "required": False,
    "schema": {"type": "integer", "minimum": 1, "maximum": DEADLINE_MAX_MS},
}
