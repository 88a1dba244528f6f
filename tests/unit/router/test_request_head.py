"""From method and raw path to a route: every route of the contract, and everything that is not one."""

import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.ids import UUID_PATTERN
from contract.problems import Problem
from contract.reasons import Reason
from router.routing.request_head import WALLET_ROUTES, Head, Kind, NoRoute, named_cell, parse_head

ID = "9f0c3f64-5717-4562-b3fc-2c963f66afa6"
ITEM = "00000000-0000-7000-8000-0000000000ff"
WALLET = f"/v1/wallets/{ID}"

ROUTES = [
    ("POST", "/v1/wallets", Kind.OPENING, True),
    ("PUT", WALLET, Kind.WALLET, True),
    ("GET", WALLET, Kind.WALLET, False),
    ("PATCH", WALLET, Kind.WALLET, True),
    ("GET", "/v1/owners/customer/c-1/wallets", Kind.OWNER, False),
    ("GET", f"{WALLET}/balance", Kind.WALLET, False),
    ("GET", f"{WALLET}/entries", Kind.WALLET, False),
    ("GET", f"{WALLET}/statement", Kind.WALLET, False),
    ("GET", f"{WALLET}/transactions/{ITEM}", Kind.WALLET, False),
    ("POST", f"{WALLET}/debit", Kind.WALLET, True),
    ("POST", f"{WALLET}/credit", Kind.WALLET, True),
    ("POST", f"{WALLET}/reverse", Kind.WALLET, True),
    ("POST", f"{WALLET}/holds", Kind.WALLET, True),
    ("GET", f"{WALLET}/holds", Kind.WALLET, False),
    ("GET", f"{WALLET}/holds/{ITEM}", Kind.WALLET, False),
    ("POST", f"{WALLET}/holds/{ITEM}/capture", Kind.WALLET, True),
    ("POST", f"{WALLET}/holds/{ITEM}/release", Kind.WALLET, True),
    ("POST", f"{WALLET}/holds/{ITEM}/extend", Kind.WALLET, True),
    ("POST", f"{WALLET}/transfers", Kind.WALLET, True),
    ("GET", f"{WALLET}/transfers/{ITEM}", Kind.WALLET, False),
    ("POST", f"{WALLET}/groups", Kind.WALLET, True),
    ("GET", f"{WALLET}/groups/{ITEM}", Kind.WALLET, False),
    ("GET", f"{WALLET}/proof", Kind.WALLET, False),
    ("POST", f"{WALLET}/incoming_transfers", Kind.WALLET, True),
    ("POST", f"{WALLET}/group_legs", Kind.WALLET, True),
    ("POST", f"{WALLET}/group_legs/{ITEM}/confirm", Kind.WALLET, True),
    ("POST", f"{WALLET}/group_legs/{ITEM}/cancel", Kind.WALLET, True),
    ("GET", f"{WALLET}/group_decisions/{ITEM}", Kind.WALLET, False),
    ("GET", "/v1/checkpoints", Kind.NAMED_CELL, False),
    ("GET", "/v1/keys", Kind.ANY_CELL, False),
    ("POST", "/v1/bulk", Kind.BULK, True),
    ("GET", "/docs", Kind.ANY_CELL, False),
    ("GET", "/openapi.json", Kind.ANY_CELL, False),
    ("GET", "/healthz", Kind.OWN, False),
    ("GET", "/readyz", Kind.OWN, False),
]


@pytest.mark.parametrize(("method", "path", "kind", "takes_body"), ROUTES)
def test_every_route_of_the_contract(method: str, path: str, kind: Kind, takes_body: bool) -> None:  # noqa: FBT001
    head = parse_head(method, path)
    assert isinstance(head, Head)
    assert (head.route.kind, head.route.takes_body, head.flaw) == (kind, takes_body, None)
    assert head.wallet_id == (ID if kind is Kind.WALLET else None)


def test_the_table_above_is_the_whole_surface() -> None:
    known = {
        (method, path.replace(ITEM, "*").removeprefix(WALLET))
        for method, path, kind, _ in ROUTES
        if kind is Kind.WALLET
    }
    table = {
        (method, "".join((f"/{resource}" if resource else "", "/*" if has_item else "", f"/{verb}" if verb else "")))
        for (resource, has_item, verb), methods in WALLET_ROUTES.items()
        for method in methods
    }
    assert table == known


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", WALLET, "GET, PUT, PATCH"),
        ("HEAD", f"{WALLET}/balance", "GET"),
        ("GET", f"{WALLET}/debit", "POST"),
        ("OPTIONS", "/v1/wallets", "POST"),
        ("GET", "/v1/wallets", "POST"),
        ("POST", "/v1/wallets/not-an-id/balance", "GET"),
        ("POST", "/v1/owners/customer/%zz/wallets", "GET"),
        ("POST", "/readyz", "GET"),
    ],
)
def test_another_method_is_told_what_is_allowed(method: str, path: str, allow: str) -> None:
    """The method outranks the form of the path."""
    answer = parse_head(method, path)
    assert isinstance(answer, NoRoute)
    assert (answer.problem.reason, answer.allow) == (Reason.METHOD_MUST_BE_ALLOWED, allow)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/v1", "/v1/", "/v2/wallets", f"{WALLET}/", f"{WALLET}/nothing", f"{WALLET}/balance/",
        f"{WALLET}/holds/{ITEM}/nothing", f"{WALLET}/holds/{ITEM}/capture/again", "/v1/wallets/",
        f"{WALLET}/holds/", f"{WALLET}/holds/{ITEM}/", "/v1/wallets/x/", "/v1/owners/customer/c-1/wallets/",
        f"{WALLET}/debit/{ITEM}", "/v1/bulk/",
        "/v1/hooks", "/v1/owners/customer/c-1", "/V1/wallets", "/metrics", "/admin/units", "/v1/wallets/x/nothing",
    ],
)  # fmt: skip
def test_a_plain_path_without_a_route(path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = parse_head(method, path)
        assert isinstance(answer, NoRoute)
        assert answer.problem.reason is Reason.ROUTE_MUST_EXIST


@pytest.mark.parametrize(
    "path",
    [
        "", "*", "//", "v1/wallets", f"//evil{WALLET}", f"/v1//wallets/{ID}/balance", f"/v1/wallets/../wallets/{ID}/x",
        f"/./v1/wallets/{ID}/balance", f"/v1/wallets/{ID}/%62alance", f"/v1%2Fwallets/{ID}/balance", "/v1/wallets%00",
        "/v1\\wallets/x", "/v1/wallets/é/x", "/v1/wallets x", "http://evil/v1/wallets", "/v1/wallets/{x}/y",
    ],
)  # fmt: skip
def test_a_path_that_is_not_plain_is_not_well_formed(path: str) -> None:
    answer = parse_head("GET", path)
    assert isinstance(answer, NoRoute)
    assert answer.problem.reason is Reason.PATH_MUST_BE_WELL_FORMED


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/wallets/{ID.upper()}/balance"),
        ("GET", f"/v1/wallets/{ID.replace('-', '')}/balance"),
        ("GET", f"/v1/wallets/%39{ID[1:]}/balance"),
        ("GET", f"/v1/wallets/{{{ID}}}/balance"),
        ("GET", f"/v1/wallets/ {ID}/balance"),
        ("GET", f"/v1/wallets/{ID};x/balance"),
        ("GET", f"/v1/wallets/{ID}\\balance"),
        ("GET", "/v1/wallets//balance"),
        ("GET", "/v1/wallets/../balance"),
        ("GET", f"{WALLET}/transactions/{ITEM.upper()}"),
        ("POST", f"{WALLET}/holds/1/capture"),
        ("PUT", "/v1/wallets/1"),
        ("GET", f"/v1/wallets/{ID}\n/balance"),
        ("GET", f"/v1/wallets/{'９' + ID[1:]}/balance"),
    ],
)
def test_an_id_in_another_form_is_a_flaw(method: str, path: str) -> None:
    head = parse_head(method, path)
    assert isinstance(head, Head)
    assert head.wallet_id is None
    assert head.flaw


@pytest.mark.parametrize("ref", ["c-1", "a b", "ä", "a/b", "..", "100%", "x" * 128, "日本", "a?b#c", "+", "'"])
def test_any_ref_travels_percent_encoded(ref: str) -> None:
    encoded = quote(ref, safe="").replace(".", "%2E")
    head = parse_head("GET", f"/v1/owners/customer/{encoded}/wallets")
    assert isinstance(head, Head)
    assert head.flaw is None


@pytest.mark.parametrize(
    ("owner_type", "ref"),
    [
        ("customer", ""), ("customer", "."), ("customer", ".."), ("customer", "%"), ("customer", "%zz"),
        ("customer", "%ff"), ("customer", "%00"), ("customer", "%1f"), ("customer", "%c2%85"), ("customer", "ä"),
        ("customer", "a b"), ("customer", "x" * 129), ("customer", "%ed%a0%80"), ("Customer", "c"), ("", "c"),
        ("cust%6fmer", "c"), ("c" * 33, "c"), ("1", "c"),
    ],
)  # fmt: skip
def test_an_owner_in_another_form_is_a_flaw(owner_type: str, ref: str) -> None:
    head = parse_head("GET", f"/v1/owners/{owner_type}/{ref}/wallets")
    assert isinstance(head, Head)
    assert head.flaw


SEGMENT = st.one_of(
    st.sampled_from(
        ["v1", "wallets", "owners", "holds", "balance", "debit", "..", ".", "", "%2e", ID, ITEM, ID.upper()]
    ),
    st.text(max_size=40),
)
PATHS = st.one_of(st.text(max_size=120), st.lists(SEGMENT, max_size=8).map(lambda segments: "/" + "/".join(segments)))


@given(method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "get", ""]), path=PATHS)
@example(method="GET", path=f"{WALLET}/balance")
def test_whatever_comes_is_judged(method: str, path: str) -> None:
    """Nothing raises, and a wallet id is only ever taken from where it stands, letter by letter."""
    answer = parse_head(method, path)
    if isinstance(answer, NoRoute):
        assert answer.problem.status in {400, 404, 405}
        return
    if answer.wallet_id is not None:
        assert re.fullmatch(UUID_PATTERN, answer.wallet_id)
        assert path.startswith(f"/v1/wallets/{answer.wallet_id}")
        assert answer.flaw is None
        assert re.fullmatch(r"[a-z0-9/-]+", path)


@pytest.mark.parametrize(
    ("query", "cell"),
    [("", None), ("limit=2", None), ("cell=cell-1", "cell-1"), ("limit=2&cell=b&order=asc", "b"), ("xcell=b", None)],
)
def test_a_query_may_name_a_cell(query: str, cell: str | None) -> None:
    assert named_cell(query) == cell


@pytest.mark.parametrize("query", ["cell=", "cell=Cell", "cell=a&cell=b", "cell=%61", "cell=a/b", "cell=" + "a" * 33])
def test_what_names_no_one_cell_is_refused(query: str) -> None:
    problem = named_cell(query)
    assert isinstance(problem, Problem)
    assert problem.reason is Reason.REQUEST_MUST_BE_WELL_FORMED


WEBHOOK = "/v1/webhooks/00000000-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("method", "path", "kind", "takes_body"),
    [
        ("GET", "/v1/webhooks", Kind.CONTROL_PLANE, False),
        ("POST", "/v1/webhooks", Kind.CONTROL_PLANE, True),
        ("DELETE", "/v1/webhooks", Kind.CONTROL_PLANE, False),
        ("DELETE", WEBHOOK, Kind.CONTROL_PLANE, False),
        ("POST", f"{WEBHOOK}/rotate", Kind.CONTROL_PLANE, False),
        ("GET", f"{WEBHOOK}/dead_letters", Kind.EVERY_CELL, False),
        ("POST", f"{WEBHOOK}/redeliver", Kind.EVERY_CELL, False),
    ],
)
def test_webhooks_have_their_routes(method: str, path: str, kind: Kind, *, takes_body: bool) -> None:
    head = parse_head(method, path)
    assert isinstance(head, Head)
    assert (head.route.kind, head.route.takes_body, head.flaw, head.wallet_id) == (kind, takes_body, None, None)
    assert WEBHOOK not in head.route.name, "names of routes are labels of metrics"
