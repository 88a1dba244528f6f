"""From method and raw path to a route and a wallet id, or to the reason why there is none.

The table below is the whole surface of the router. Ids are accepted in their canonical form only; nothing is decoded,
normalised or guessed, so that router and cell can never read two different paths out of one request.
"""

import re
from enum import StrEnum
from urllib.parse import unquote_to_bytes

from contract.ids import CELL_PATTERN, NAME_PATTERN, OWNER_REF_PATTERN, CellId, WalletId, is_canonical_uuid
from contract.problems import Problem
from contract.reasons import Reason
from contract.values import value


class Kind(StrEnum):
    WALLET = "wallet"
    """Goes to the cell that owns the wallet of the path."""
    OPENING = "opening"
    """Goes to the cell of the wallet that the body describes."""
    BULK = "bulk"
    """Goes in parts to the cells of the wallets that its operations name."""
    OWNER = "owner"
    """Goes to every cell."""
    ANY_CELL = "any_cell"
    """Goes to any cell that answers."""
    NAMED_CELL = "named_cell"
    """Goes to the cell that the query names, or to any that answers."""
    CONTROL_PLANE = "control_plane"
    """Goes to the control plane, with the vendor's token."""
    EVERY_CELL = "every_cell"
    """Goes to every cell, and the answers become one."""
    OWN = "own"
    """Answered by the router itself."""


@value
class Route:
    name: str
    kind: Kind
    takes_body: bool


@value
class Head:
    """A request whose route and method exist. `flaw` says why its path is not well formed, if it is not."""

    route: Route
    wallet_id: WalletId | None = None
    flaw: str | None = None


@value
class NoRoute:
    problem: Problem
    allow: str | None = None
    """Value of the `Allow` header where only the method is wrong."""


Methods = dict[str, Route]

_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_WALLET_PATH = re.compile(rf"/v1/wallets/({_ID})(?:/([a-z_]+)(?:/({_ID})(?:/([a-z]+))?)?)?")
_SEGMENTS = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)+/?|/")
_REF_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+")
_OWNER_TYPE = re.compile(NAME_PATTERN)
_OWNER_REF = re.compile(OWNER_REF_PATTERN)

_CELL = re.compile(CELL_PATTERN)

_ID_FLAW = "Ids in the path must be canonical lower-case UUIDs."


def _methods(name: str, *methods: str, kind: Kind = Kind.WALLET) -> Methods:
    return {
        method: Route(name=f"{method} {name}", kind=kind, takes_body=method in {"POST", "PUT", "PATCH"})
        for method in methods
    }


def _wallet(path: str, *methods: str) -> Methods:
    return _methods(f"/v1/wallets/{{wallet_id}}{path}", *methods)


WALLET_ROUTES: dict[tuple[str | None, bool, str | None], Methods] = {
    (None, False, None): _wallet("", "GET", "PUT", "PATCH"),
    ("balance", False, None): _wallet("/balance", "GET"),
    ("entries", False, None): _wallet("/entries", "GET"),
    ("statement", False, None): _wallet("/statement", "GET"),
    ("transactions", True, None): _wallet("/transactions/{transaction_id}", "GET"),
    ("debit", False, None): _wallet("/debit", "POST"),
    ("credit", False, None): _wallet("/credit", "POST"),
    ("reverse", False, None): _wallet("/reverse", "POST"),
    ("holds", False, None): _wallet("/holds", "GET", "POST"),
    ("holds", True, None): _wallet("/holds/{hold_id}", "GET"),
    ("holds", True, "capture"): _wallet("/holds/{hold_id}/capture", "POST"),
    ("holds", True, "release"): _wallet("/holds/{hold_id}/release", "POST"),
    ("holds", True, "extend"): _wallet("/holds/{hold_id}/extend", "POST"),
    ("transfers", False, None): _wallet("/transfers", "POST"),
    ("transfers", True, None): _wallet("/transfers/{transaction_id}", "GET"),
    ("groups", False, None): _wallet("/groups", "POST"),
    ("groups", True, None): _wallet("/groups/{transaction_id}", "GET"),
    ("proof", False, None): _wallet("/proof", "GET"),
    # What cells ask of each other; vendors' tokens open none of them.
    ("incoming_transfers", False, None): _wallet("/incoming_transfers", "POST"),
    ("group_legs", False, None): _wallet("/group_legs", "POST"),
    ("group_legs", True, "confirm"): _wallet("/group_legs/{group_id}/confirm", "POST"),
    ("group_legs", True, "cancel"): _wallet("/group_legs/{group_id}/cancel", "POST"),
    ("group_decisions", True, None): _wallet("/group_decisions/{group_id}", "GET"),
}
"""What follows the wallet id: its resource, whether an id follows that, and the verb after it."""

FIXED_ROUTES: dict[str, Methods] = {
    "/v1/wallets": _methods("/v1/wallets", "POST", kind=Kind.OPENING),
    "/v1/checkpoints": _methods("/v1/checkpoints", "GET", kind=Kind.NAMED_CELL),
    "/v1/keys": _methods("/v1/keys", "GET", kind=Kind.ANY_CELL),
    "/v1/webhooks": _methods("/v1/webhooks", "GET", "POST", "DELETE", kind=Kind.CONTROL_PLANE),
    "/v1/bulk": _methods("/v1/bulk", "POST", kind=Kind.BULK),
    "/docs": _methods("/docs", "GET", kind=Kind.ANY_CELL),
    "/openapi.json": _methods("/openapi.json", "GET", kind=Kind.ANY_CELL),
    "/healthz": _methods("/healthz", "GET", kind=Kind.OWN),
    "/readyz": _methods("/readyz", "GET", kind=Kind.OWN),
}


def _webhook(path: str, method: str, kind: Kind) -> Methods:
    """No route of one webhook reads a body."""
    name = f"{method} /v1/webhooks/{{webhook_id}}{path}"
    return {method: Route(name=name, kind=kind, takes_body=False)}


WEBHOOK_ROUTES: dict[str | None, Methods] = {
    None: _webhook("", "DELETE", Kind.CONTROL_PLANE),
    "rotate": _webhook("/rotate", "POST", Kind.CONTROL_PLANE),
    "dead_letters": _webhook("/dead_letters", "GET", Kind.EVERY_CELL),
    "redeliver": _webhook("/redeliver", "POST", Kind.EVERY_CELL),
}

OWNER_ROUTES: Methods = _methods("/v1/owners/{type}/{ref}/wallets", "GET", kind=Kind.OWNER)


def parse_head(method: str, raw_path: str) -> Head | NoRoute:
    """The route of a request. `raw_path` is the path of the request line as it came, without the query."""
    match = _WALLET_PATH.fullmatch(raw_path)
    if match is None:
        return _parse_rare(method, raw_path)
    wallet_id, resource, item, verb = match.groups()
    methods = WALLET_ROUTES.get((resource, item is not None, verb))
    if methods is None:
        return _no_route(raw_path)
    route = methods.get(method)
    if route is None:
        return _no_method(methods)
    return Head(route=route, wallet_id=WalletId(wallet_id))


def named_cell(query: str) -> CellId | Problem | None:
    """Whom the query names; a name is never encoded, for its letters need no encoding."""
    named = [text.removeprefix("cell=") for text in query.split("&") if text.startswith("cell=")]
    if not named:
        return None
    if len(named) > 1 or _CELL.fullmatch(named[0]) is None:
        return unknown_cell("must be the name of one cell")
    return CellId(named[0])


def unknown_cell(message: str) -> Problem:
    return Problem(
        reason=Reason.REQUEST_MUST_BE_WELL_FORMED,
        detail=f"cell: {message}",
        facts={"errors": [{"pointer": "", "parameter": "cell", "message": message}]},
    )


def _parse_rare(method: str, raw_path: str) -> Head | NoRoute:
    """Paths without a wallet id, and all that are not well formed."""
    methods = FIXED_ROUTES.get(raw_path)
    flaw = None
    if methods is None:
        methods, flaw = _by_shape(raw_path.split("/"))
    if methods is None:
        return _no_route(raw_path)
    route = methods.get(method)
    if route is None:
        return _no_method(methods)
    return Head(route=route, flaw=flaw)


def _by_shape(segments: list[str]) -> tuple[Methods | None, str | None]:
    match segments:
        case [*_, ""]:
            return None, None  # as the cells have it: a slash at the end makes another path, which no route has
        case ["", "v1", "wallets", _]:
            return WALLET_ROUTES[None, False, None], _ID_FLAW
        case ["", "v1", "wallets", _, resource]:
            return WALLET_ROUTES.get((resource, False, None)), _ID_FLAW
        case ["", "v1", "wallets", _, resource, _]:
            return WALLET_ROUTES.get((resource, True, None)), _ID_FLAW
        case ["", "v1", "wallets", _, resource, _, verb]:
            return WALLET_ROUTES.get((resource, True, verb)), _ID_FLAW
        case ["", "v1", "webhooks", webhook_id]:
            return WEBHOOK_ROUTES[None], _id_flaw(webhook_id)
        case ["", "v1", "webhooks", webhook_id, verb]:
            return WEBHOOK_ROUTES.get(verb), _id_flaw(webhook_id)
        case ["", "v1", "owners", owner_type, ref, "wallets"]:
            return OWNER_ROUTES, _owner_flaw(owner_type, ref)
    return None, None


def _id_flaw(text: str) -> str | None:
    return None if is_canonical_uuid(text) else _ID_FLAW


def _owner_flaw(owner_type: str, ref: str) -> str | None:
    """The one place where percent-encoding is legal: a ref is any text, and travels as its UTF-8 bytes."""
    if _OWNER_TYPE.fullmatch(owner_type) is None:
        return "The owner's type must be a lower-case name."
    if ref in {".", ".."} or _REF_SEGMENT.fullmatch(ref) is None:
        return "The owner's ref must be percent-encoded."
    try:
        text = unquote_to_bytes(ref).decode()
    except UnicodeDecodeError:
        return "The owner's ref must be UTF-8."
    if _OWNER_REF.fullmatch(text) is None:
        return "The owner's ref must be 1 to 128 characters without control characters."
    return None


def _no_route(raw_path: str) -> NoRoute:
    is_plain = _SEGMENTS.fullmatch(raw_path) is not None and not {".", ".."} & set(raw_path.split("/"))
    if is_plain:
        return NoRoute(problem=Problem(reason=Reason.ROUTE_MUST_EXIST, detail="There is no such route."))
    detail = "The path must be plain: no encoded, empty or dot segments."
    return NoRoute(problem=Problem(reason=Reason.PATH_MUST_BE_WELL_FORMED, detail=detail))


def _no_method(methods: Methods) -> NoRoute:
    allow = ", ".join(methods)
    problem = Problem(reason=Reason.METHOD_MUST_BE_ALLOWED, detail=f"This route allows {allow}.")
    return NoRoute(problem=problem, allow=allow)
