"""Whatever is sent: a problem document that says why not, never a 500, and nothing recorded that was not decided."""

import http.client
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from cell_answers import NOBODY, done, reason_of
from cell_process import RunningCell, Vendor, id_of, new_id, opening, posting

from contract.headers import BODY_MAX_BYTES

MALFORMED = "request_must_be_well_formed"
JSON = {"Content-Type": "application/json"}
BIG = 10**100
HUGE = "9" * 5_000
UPPER = "0F0E0D0C-0B0A-4000-8000-00000000000A"


@pytest.fixture(scope="module")
def wallet_id(vendor: Vendor) -> str:
    """Of tests that change nothing."""
    return vendor.open(balance=100)


@pytest.fixture(scope="module")
def counting(cell: RunningCell) -> Iterator[Callable[[], Any]]:
    counts = ", ".join(
        f"(SELECT count(*) FROM {table})"  # noqa: S608 - our own names
        for table in ("wallets", "entries", "transactions", "account_deltas")
    )
    with psycopg.connect(cell.database.url(), autocommit=True) as connection:
        yield lambda: connection.execute(f"SELECT {counts}".encode()).fetchone()


@pytest.fixture
def nothing_recorded(counting: Callable[[], Any], wallet_id: str) -> Iterator[None]:
    before = counting()
    yield
    assert counting() == before


def raw(**fields: str) -> bytes:
    """A credit whose fields are these texts of JSON, as they stand."""
    members = {"transaction_id": json.dumps(new_id()), "amount": "1", "currency": '"EUR"', **fields}
    return b"{%b}" % ",".join(f'"{name}":{text}' for name, text in members.items()).encode("utf-8", "surrogatepass")


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


AMOUNTS = [
    "1.0",
    "1e3",
    "1E0",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    str(2**53),
    str(-(2**53)),
    str(BIG),
    HUGE,
    '"5"',
    "null",
]
AMOUNTS += ["[]", "{}", "NaN", "Infinity", "-Infinity", "0x10", "01", "+1", "1_000", "1.", ".5", "1e400"]

IDS = [
    UPPER,
    f"urn:uuid:{NOBODY}",
    "{" + NOBODY + "}",
    NOBODY.replace("-", ""),
    f"{NOBODY}\n",
    f" {NOBODY}",
    NOBODY[:-1],
]
IDS += [f"{NOBODY}0", "", "x" * 36, "０" * 36, "\0"]

CREDITS = {
    **{f"amount {text[:12]}": raw(amount=text) for text in AMOUNTS},
    **{f"transaction_id {text[:12]!r}": raw(transaction_id=json.dumps(text)) for text in IDS},
    **{f"transaction_id {text}": raw(transaction_id=text) for text in ("null", "1", "true", "[]", "{}")},
    **{
        f"currency {text}": raw(currency=text)
        for text in ('"eur"', '"Eur"', '"EU"', '"EURO"', '"XXX"', '"XTS"', '"XAU"')
    },
    **{f"currency {text}": raw(currency=text) for text in ('"É"', '"EUR\\n"', '"\\u0045UR "', "978", "null", '""')},
    "description with NUL": raw(description='"a\\u0000b"'),
    "description with a lone surrogate": raw(description='"\\ud800"'),
    "description with a lone low surrogate": raw(description='"\\udc00x"'),
    "description with a raw surrogate": raw(description='"\ud800"'),
    "description too long": raw(description=json.dumps("x" * 501)),
    "description no text": raw(description="7"),
    "reference too long": raw(reference=json.dumps("x" * 141)),
    "reference with NUL": raw(reference='"\\u0000"'),
    "metadata no object": raw(metadata="[]"),
    "metadata a text": raw(metadata='"{}"'),
    "metadata with a float": raw(metadata='{"a":1.5}'),
    "metadata with a whole float": raw(metadata='{"a":1.0}'),
    "metadata with a list": raw(metadata='{"a":[1]}'),
    "metadata with null": raw(metadata='{"a":null}'),
    "metadata with a big integer": raw(metadata=f'{{"a":{2**53}}}'),
    "metadata with a huge integer": raw(metadata=f'{{"a":{BIG}}}'),
    "metadata with NUL": raw(metadata='{"a":"\\u0000"}'),
    "metadata with NUL in a name": raw(metadata='{"a\\u0000":1}'),
    "metadata with a lone surrogate": raw(metadata='{"a":"\\udfff"}'),
    "metadata with a lone surrogate in a name": raw(metadata='{"\\ud83d":1}'),
    "metadata four levels deep": raw(metadata=nested(4)),
    "metadata 150 levels deep": raw(metadata=nested(150)),
    "metadata 5,000 levels deep": raw(metadata=nested(5_000)),
    "metadata too large": raw(metadata=json.dumps({"a": "x" * 4_090})),
    "metadata too large in bytes": raw(metadata=json.dumps({"a": "ü" * 2_046}, ensure_ascii=False)),
    "an unknown field": raw(colour='"red"'),
    "an unknown field that is known elsewhere": raw(status='"closed"'),
    "no amount": b'{"transaction_id":"%b","currency":"EUR"}' % NOBODY.encode(),
    "no id": b'{"amount":1,"currency":"EUR"}',
    "an empty object": b"{}",
    "nothing": b"",
    "a blank": b" ",
    "an array": b"[]",
    "an array of it": b"[%b]" % raw(),
    "null": b"null",
    "a number": b"1",
    "a text": b'"x"',
    "half of it": raw()[:-1],
    "more than it": raw() + b"}",
    "two of it": raw() + raw(),
    "a comma too many": raw()[:-1] + b",}",
    "single quotes": raw().replace(b'"', b"'"),
    "a comment": raw()[:-1] + b"/* */}",
    "a byte order mark": b"\xef\xbb\xbf" + raw(),
    "UTF-16": raw().decode().encode("utf-16"),
    "invalid UTF-8": raw(description='"\udcff"').replace("\udcff".encode("utf-8", "surrogatepass"), b"\xff"),
    "deep arrays": b"[" * 30_000,
    "deep objects": b'{"a":' * 10_000,
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("name", CREDITS)
def test_a_credit_that_is_not_well_formed(vendor: Vendor, wallet_id: str, nothing_recorded: None, name: str) -> None:
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", content=CREDITS[name], headers=JSON)
    assert reason_of(answer) == MALFORMED
    assert answer.json()["retry"] == "never"
    errors = answer.json()["errors"]
    assert errors
    assert all(set(error) <= {"pointer", "message", "parameter"} for error in errors)
    assert len(answer.content) < 8_000


def test_errors_point_at_what_is_wrong(vendor: Vendor, wallet_id: str) -> None:
    body = {**posting(0), "metadata": {"a/b": 1.5}, "colour": "red"}
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=body)
    assert {error["pointer"] for error in answer.json()["errors"]} == {"/amount", "/metadata", "/colour"}


def test_many_errors_are_no_amplifier(vendor: Vendor, wallet_id: str) -> None:
    body = {f"field-{number}-{'x' * 200}": number for number in range(250)}
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=body)
    assert reason_of(answer) == MALFORMED
    assert len(answer.json()["errors"]) == 20
    assert len(answer.content) < 12_000


def test_of_two_members_of_one_name_the_last_counts(vendor: Vendor) -> None:
    """As in every JSON reader of note; what is answered is what is recorded."""
    wallet_id = vendor.open()
    body = raw()[:-1] + b',"amount":7}'
    posted = done(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", content=body, headers=JSON))
    assert (posted["amount"], posted["balance"]) == (7, 7)


def test_the_widest_that_fits_is_taken(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    wide = posting(
        1,
        description="\U0001f600" * 500,
        reference="ü" * 140,
        metadata={"a": {"b": {"c": -(2**53) + 1}}, "long": "x" * 4_000, "yes": True, "": ""},
    )
    done(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=wide))
    entry = done(vendor.get(f"/v1/wallets/{wallet_id}/transactions/{wide['transaction_id']}"), 200)
    assert {name: entry[name] for name in ("description", "reference", "metadata")} == {
        name: wide[name] for name in ("description", "reference", "metadata")
    }


OPENINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "owner a text": lambda: {**opening(), "owner": "person:1"},
    "owner without ref": lambda: {**opening(), "owner": {"type": "person"}},
    "owner without type": lambda: {**opening(), "owner": {"ref": "1"}},
    "owner with more": lambda: {**opening(), "owner": {"type": "person", "ref": "1", "name": "x"}},
    **{
        f"owner type {text!r}": lambda text=text: {**opening(), "owner": {"type": text, "ref": "1"}}  # type: ignore[misc]
        for text in ("Person", "1a", "a-b", "", "a" * 33, "person\n", "pérson", "_a", 7)
    },
    **{
        f"owner ref {text!r:.20}": lambda text=text: opening_of(text)  # type: ignore[misc]
        for text in ("", "x" * 129, "a\nb", "\x00", "\x7f", "\x85", "a\tb", 7, None, ["1"])
    },
    **{
        f"kind {text!r}": lambda text=text: opening(kind=text)  # type: ignore[misc]
        for text in ("Main", "", "a b", "a" * 33, None, 1)
    },
    **{
        f"overdraft {number!r}": lambda number=number: opening(overdraft_limit=number)  # type: ignore[misc]
        for number in (-1, 2**53, 1.5, True, "5", None, BIG)
    },
    "metadata null": lambda: opening(metadata=None),
    "metadata with a float": lambda: opening(metadata={"a": 0.5}),
    "an amount": lambda: opening(amount=5),
    "a transaction id": lambda: opening(transaction_id=new_id()),
    "no currency": lambda: {"owner": {"type": "person", "ref": "1"}},
}


def opening_of(ref: Any) -> dict[str, Any]:
    return {**opening(), "owner": {"type": "person", "ref": ref}}


@pytest.mark.parametrize("name", OPENINGS)
def test_an_opening_that_is_not_well_formed(vendor: Vendor, nothing_recorded: None, name: str) -> None:
    assert reason_of(vendor.client.post("/v1/wallets", json=OPENINGS[name]())) == MALFORMED


@pytest.mark.parametrize("ref", ['"\\ud800"', '"\\udc00"', '"a\\u0000"', '"\\u001f"'])
def test_an_owner_ref_that_is_no_text(vendor: Vendor, nothing_recorded: None, ref: str) -> None:
    body = b'{"owner":{"type":"person","ref":%b},"currency":"EUR"}' % ref.encode()
    assert reason_of(vendor.client.post("/v1/wallets", content=body, headers=JSON)) == MALFORMED


OTHERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "change nothing": ("PATCH", "", {"transaction_id": NOBODY}),
    "change to null": ("PATCH", "", {"transaction_id": NOBODY, "status": None}),
    "change to a status of one's own": ("PATCH", "", {"transaction_id": NOBODY, "status": "frozen"}),
    "change a balance": ("PATCH", "", {"transaction_id": NOBODY, "status": "active", "balance": 5}),
    "change without an id": ("PATCH", "", {"status": "suspended"}),
    "change to a negative limit": ("PATCH", "", {"transaction_id": NOBODY, "overdraft_limit": -1}),
    "change metadata to a list": ("PATCH", "", {"transaction_id": NOBODY, "metadata": []}),
    "reverse nothing": ("POST", "/reverse", {"transaction_id": NOBODY}),
    "reverse zero": ("POST", "/reverse", {"transaction_id": NOBODY, "original_transaction_id": NOBODY, "amount": 0}),
    "reverse in a currency": (
        "POST",
        "/reverse",
        {"transaction_id": NOBODY, "original_transaction_id": NOBODY, "currency": "EUR"},
    ),
    "reverse of the platform": (
        "POST",
        "/reverse",
        {"transaction_id": NOBODY, "original_transaction_id": NOBODY, "original_vendor": "@cell"},
    ),
    "reverse of an upper-case id": ("POST", "/reverse", {"transaction_id": NOBODY, "original_transaction_id": UPPER}),
    "transfer to nobody": ("POST", "/transfers", posting(1)),
    "transfer to an upper-case id": ("POST", "/transfers", {**posting(1), "to_wallet_id": UPPER}),
    "transfer of nothing": ("POST", "/transfers", {**posting(0), "to_wallet_id": NOBODY}),
    "transfer with a reference": ("POST", "/transfers", {**posting(1), "to_wallet_id": NOBODY, "reference": "x"}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_bodies_that_are_not_well_formed(
    vendor: Vendor, wallet_id: str, nothing_recorded: None, name: str
) -> None:
    method, verb, body = OTHERS[name]
    answer = vendor.client.request(method, f"/v1/wallets/{wallet_id}{verb}", json=body)
    assert reason_of(answer) == MALFORMED


# Content types and sizes.


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json-patch+json",
        "application/jsonp",
        "json",
        "*/*",
    ],
)
def test_what_is_not_json(vendor: Vendor, wallet_id: str, nothing_recorded: None, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", content=raw(), headers=headers)
    assert reason_of(answer) == "content_type_must_be_json"


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"]
)
def test_what_is_json_too(vendor: Vendor, content_type: str) -> None:
    wallet_id = vendor.open()
    headers = {"Content-Type": content_type}
    done(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", content=raw(), headers=headers))


@pytest.mark.parametrize("is_chunked", [False, True], ids=["with its length", "in chunks"])
@pytest.mark.parametrize("is_more", [False, True], ids=["fits", "does not"])
def test_the_size_of_a_body(vendor: Vendor, *, is_chunked: bool, is_more: bool) -> None:
    wallet_id = vendor.open()
    body = raw()
    body += b" " * (BODY_MAX_BYTES - len(body) + int(is_more))

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    content: Any = chunks() if is_chunked else body
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", content=content, headers=JSON)
    if is_more:
        assert reason_of(answer) == "body_must_fit"
    else:
        assert done(answer)["balance"] == 1


def test_a_length_beyond_all_bounds(cell: RunningCell, wallet_id: str, nothing_recorded: None) -> None:
    for length in ("65537", "9999999999", "9" * 18):
        answer = exchange(cell, "POST", f"/v1/wallets/{wallet_id}/credit", {**JSON, "Content-Length": length})
        assert (answer.status, answer.reason_code) == (413, "body_must_fit")


def test_a_body_that_does_not_arrive(cell: RunningCell, wallet_id: str, nothing_recorded: None) -> None:
    answer = exchange(cell, "POST", f"/v1/wallets/{wallet_id}/credit", {**JSON, "Content-Length": "100"}, body=b"{")
    assert (answer.status, answer.reason_code) == (504, "deadline_must_not_pass")


# Headers.


@pytest.mark.parametrize("text", ["0", "-1", "30001", "99999999", "abc", "1.5", "", "5e3", "１"])
def test_a_deadline_that_is_none(vendor: Vendor, wallet_id: str, nothing_recorded: None, text: str) -> None:
    headers = [(b"X-Deadline-Ms", text.encode())]
    answer = vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=posting(1), headers=headers)
    assert reason_of(answer) == MALFORMED
    assert answer.json()["errors"][0]["header"] == "X-Deadline-Ms"


def test_a_deadline_that_is_one(vendor: Vendor) -> None:
    wallet_id = vendor.open()
    for text in ("30000", "5000"):
        headers = {"X-Deadline-Ms": text}
        done(vendor.client.post(f"/v1/wallets/{wallet_id}/credit", json=posting(1), headers=headers))


# Queries.

READS = ["balance", "entries"]
QUERIES = {
    **{f"limit={text}": {"limit": text} for text in ("0", "501", "-1", "abc", "1.5", "", "1e1", HUGE, "٣")},
    **{
        f"cursor={text:.12}": {"cursor": text}
        for text in (
            "x",
            "%%%",
            "!!!!",
            "YWJj",
            "MS4yLjM",
            "LjE",
            "MS4",
            "A" * 201,
            "\0",
            "ü",
            "LTk5OTk5OTk5OTk5OTk5OTk5OS4x",
        )
    },
    **{f"kind={text}": {"kind": text} for text in ("credits", "CREDIT", "", "credit ")},
    **{f"order={text}": {"order": text} for text in ("up", "ASC", "")},
}
MOMENTS = ["", "now", "2024-01-01", "2024-01-01T00:00:00", "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z", "1704067200"]
MOMENTS += ["2024-01-01T24:00:01Z", "2024-01-01T00:00:60Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"]
MOMENTS += [
    "0001-01-01T00:00:00+23:59",
    "2024-01-01T00:00:00.Z",
    "2024-01-01T00:00:00+99:99",
    "-2024-01-01T00:00:00Z",
    "\0",
]
MOMENTS += ["２０２４-01-01T00:00:00Z"]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_that_is_not_well_formed(vendor: Vendor, wallet_id: str, name: str) -> None:
    answer = vendor.get(f"/v1/wallets/{wallet_id}/entries", **QUERIES[name])
    assert reason_of(answer) == MALFORMED
    assert answer.json()["errors"][0]["parameter"] in QUERIES[name]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_moment_that_is_none(vendor: Vendor, wallet_id: str, moment: str) -> None:
    for path, name in (("balance", "at"), ("entries", "from"), ("entries", "to")):
        answer = vendor.get(f"/v1/wallets/{wallet_id}/{path}", **{name: moment})
        assert reason_of(answer) == MALFORMED, (path, name)
        assert answer.json()["errors"][0]["parameter"] == name


def test_moments_in_every_dress(vendor: Vendor, wallet_id: str) -> None:
    for moment in (
        "2024-01-01T00:00:00Z",
        "2024-01-01t00:00:00z",
        "2024-01-01T01:00:00+01:00",
        "2024-01-01T00:00:00.123456789Z",
    ):
        page = done(vendor.get(f"/v1/wallets/{wallet_id}/entries", **{"from": moment}), 200)
        assert len(page["entries"]) == 2


@pytest.mark.parametrize("query", ["currency=eur", "currency=EURO", "kind=Main", "kind=", "currency="])
def test_a_filter_of_owners_that_is_not_well_formed(vendor: Vendor, query: str) -> None:
    assert reason_of(vendor.client.get(f"/v1/owners/person/x/wallets?{query}")) == MALFORMED


# Paths and methods.

ROUTES = {
    "GET": ["", "/balance", "/entries", "/transactions/" + NOBODY],
    "POST": ["/credit", "/debit", "/reverse", "/transfers"],
}
BAD_IDS = [
    UPPER,
    f"urn:uuid:{NOBODY}",
    "%7B" + NOBODY + "%7D",
    NOBODY.replace("-", ""),
    "x",
    NOBODY[:-1] + "g",
    f"{NOBODY}%0A",
]
BAD_IDS += [NOBODY.replace("-", "%2D"), "%00", "%ff", "%", NOBODY + "%20", "%E2%80%AE"]


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = dict(response.getheaders())
        self.text = response.read()

    @property
    def reason_code(self) -> str:
        code: str = json.loads(self.text)["reason"]
        return code


def exchange(
    cell: RunningCell, method: str, path: str, headers: dict[str, str] | None = None, *, body: bytes | None = None
) -> Answer:
    """The path as it is, and exactly these headers (but for the token)."""
    connection = http.client.HTTPConnection(urlsplit(cell.url).netloc, timeout=20)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, text in {"Authorization": f"Bearer {cell.token()}", **(headers or {})}.items():
            connection.putheader(name, text)
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize("wallet", BAD_IDS)
def test_a_wallet_id_that_is_none(cell: RunningCell, nothing_recorded: None, wallet: str) -> None:
    for method, verbs in ROUTES.items():
        for verb in verbs:
            headers = {"Content-Length": str(len(raw())), **JSON} if method == "POST" else {}
            body = raw() if method == "POST" else None
            answer = exchange(cell, method, f"/v1/wallets/{wallet}{verb}", headers, body=body)
            assert (answer.status, answer.reason_code) == (400, "path_must_be_well_formed"), (method, verb)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/wallets",
        "/V1/wallets",
        "/v1/wallet",
        "/v1//wallets",
        f"/v1/wallets/{NOBODY}/",
        f"/v1/wallets/{NOBODY}/nothing",
        f"/v1/wallets/{NOBODY}/entries/",
        f"/v1/wallets/{NOBODY}/balance/",
        f"/v1/wallets/{NOBODY}//balance",
        f"/v1/wallets/{NOBODY}/transactions",
        f"/v1/wallets/{NOBODY}/transactions/",
        f"/v1/wallets/{NOBODY}/transactions/{NOBODY}/more",
        "/v1/owners/person/wallets",
        "/v1/owners/person/x",
        "/admin/units",
        "/metrics",
        "/v1/wallets/%2e%2e/credit/x",
        "/v1/wallets/..%2F/credit",
        "/v1/wallets/",
        "/v1/wallets//credit/",
        "/" + "x" * 5_000,
    ],
)
def test_a_route_that_is_none(cell: RunningCell, nothing_recorded: None, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        answer = exchange(cell, method, path, {"Content-Length": "0"})
        assert (answer.status, answer.reason_code) == (404, "route_must_exist"), method


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/wallets", "POST"),
        (f"/v1/wallets/{NOBODY}", "GET, PATCH, PUT"),
        (f"/v1/wallets/{NOBODY}/balance", "GET"),
        (f"/v1/wallets/{NOBODY}/entries", "GET"),
        (f"/v1/wallets/{NOBODY}/transactions/{NOBODY}", "GET"),
        (f"/v1/wallets/{NOBODY}/credit", "POST"),
        (f"/v1/wallets/{NOBODY}/debit", "POST"),
        (f"/v1/wallets/{NOBODY}/reverse", "POST"),
        (f"/v1/wallets/{NOBODY}/transfers", "POST"),
        ("/v1/owners/person/x/wallets", "GET"),
    ],
)
def test_a_method_that_is_not_allowed(cell: RunningCell, nothing_recorded: None, path: str, allowed: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - set(allowed.split(", ")):
        answer = exchange(cell, method, path, {"Content-Length": "0"})
        assert (answer.status, answer.reason_code) == (405, "method_must_be_allowed"), method
        assert sorted(answer.headers["allow"].split(", ")) == sorted(allowed.split(", "))


def test_ids_of_transactions_in_paths(cell: RunningCell, wallet_id: str) -> None:
    for transaction_id in BAD_IDS:
        answer = exchange(cell, "GET", f"/v1/wallets/{wallet_id}/transactions/{transaction_id}")
        assert (answer.status, answer.reason_code) == (400, "path_must_be_well_formed"), transaction_id


@pytest.mark.parametrize("owner", ["Person/x", "person/%00", "person/%1F", "person/" + "x" * 129, "1/x", "person/%7F"])
def test_owners_that_are_none(cell: RunningCell, owner: str) -> None:
    answer = exchange(cell, "GET", f"/v1/owners/{owner}/wallets")
    assert (answer.status, answer.reason_code) == (400, "path_must_be_well_formed")


def test_put_under_the_id_of_another_owner(vendor: Vendor, nothing_recorded: None) -> None:
    other = id_of(opening())
    for body in (opening(), opening(currency="USD"), opening(kind="savings")):
        assert reason_of(vendor.client.put(f"/v1/wallets/{other}", json=body)) == "wallet_id_must_match_owner"


def test_what_is_no_http_is_cut_short(cell: RunningCell) -> None:
    with httpx.Client(base_url=cell.url, trust_env=False) as client:
        assert client.get("/healthz").status_code == 200
    answer = exchange(cell, "POST", f"/v1/wallets/{NOBODY}/credit", {"Content-Length": "abc"})
    assert answer.status == 400
