"""Which headers pass, and what is read from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.routing.headers import HOP_BY_HOP, SPOOFABLE, acceptable_request_id, relayed, sort_inbound

TRACEPARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP | SPOOFABLE | {b"x-forwarded-for", b"x-forwarded-anything"}))
def test_hop_by_hop_and_spoofable_headers_are_taken_off(name: bytes) -> None:
    assert sort_inbound([(name, b"x"), (b"accept", b"*/*")]).forwarded == [(b"accept", b"*/*")]


@pytest.mark.parametrize("name", [b"authorization", b"accept", b"user-agent", b"content-type", b"x-anything"])
def test_other_headers_pass_unchanged_and_in_order(name: bytes) -> None:
    headers = [(name, b"2"), (b"accept", b"*/*"), (name, b"1")]
    assert sort_inbound(headers).forwarded == headers


def test_headers_that_the_connection_names_are_taken_off() -> None:
    headers = [
        (b"connection", b"close, X-One"),
        (b"x-one", b"1"),
        (b"x-two", b"2"),
        (b"connection", b"x-two"),
        (b"x-three", b"3"),
    ]
    assert sort_inbound(headers).forwarded == [(b"x-three", b"3")]


def test_what_the_router_sets_is_not_forwarded_twice() -> None:
    names = [b"content-length", b"expect", b"host", b"traceparent", b"x-deadline-ms", b"x-request-id"]
    assert sort_inbound([(name, b"1") for name in names]).forwarded == []


@pytest.mark.parametrize("text", [b"a", b"A-b_c.9", b"x" * 128])
def test_an_acceptable_request_id_is_kept(text: bytes) -> None:
    assert (
        sort_inbound([(b"x-request-id", text)]).request_id
        == text.decode()
        == acceptable_request_id([(b"x-request-id", text)])
    )


@pytest.mark.parametrize("texts", [[], [b""], [b"a b"], [b"x" * 129], ["é".encode()], [b"a\n"], [b"a", b"b"]])
def test_another_request_id_is_none(texts: list[bytes]) -> None:
    headers = [(b"x-request-id", text) for text in texts]
    assert sort_inbound(headers).request_id is None
    assert acceptable_request_id(headers) is None


@pytest.mark.parametrize(
    ("texts", "deadline_ms"),
    [
        ([], 5_000), ([b"1"], 1), ([b"30000"], 30_000), ([b"0250"], 250),
        ([b"0"], None), ([b"30001"], None), ([b"-1"], None), ([b"1.5"], None), ([b""], None), ([b"1 "], None),
        ([b"0x10"], None), ([b"999999999999"], None), ("١٠".encode(), None), ([b"10", b"10"], None),
    ],
)  # fmt: skip
def test_the_deadline(texts: list[bytes], deadline_ms: int | None) -> None:
    texts = texts if isinstance(texts, list) else [texts]
    assert sort_inbound([(b"x-deadline-ms", text) for text in texts]).deadline_ms == deadline_ms


@pytest.mark.parametrize(
    ("texts", "is_json"),
    [
        ([b"application/json"], True), ([b"Application/JSON"], True), ([b"application/json; charset=utf-8"], True),
        ([b'application/json;charset="UTF-8"'], True), ([b"application/json ; charset=utf-8 "], True),
        ([], False), ([b""], False), ([b"text/plain"], False), ([b"application/jsonp"], False),
        ([b"application/json, text/plain"], False), ([b"application/json; charset=latin-1"], False),
        ([b"application/json", b"application/json"], False), ([b"application/x-www-form-urlencoded"], False),
    ],
)  # fmt: skip
def test_the_content_type(texts: list[bytes], is_json: bool) -> None:  # noqa: FBT001
    assert sort_inbound([(b"content-type", text) for text in texts]).is_json is is_json


def test_a_trace_is_honoured() -> None:
    inbound = sort_inbound([(b"traceparent", TRACEPARENT)])
    assert (inbound.traceparent, inbound.trace_id) == (TRACEPARENT, "4bf92f3577b34da6a3ce929d0e0e4736")


@pytest.mark.parametrize("texts", [[b"00-x"], [TRACEPARENT.upper()], [TRACEPARENT, TRACEPARENT], [TRACEPARENT + b"\n"]])
def test_a_trace_of_another_form_is_dropped(texts: list[bytes]) -> None:
    inbound = sort_inbound([(b"traceparent", text) for text in texts])
    assert (inbound.traceparent, inbound.trace_id) == (None, None)


def test_a_cells_answer_keeps_its_headers_and_order() -> None:
    kept = [
        (b"content-type", b"application/json"), (b"x-cell", b"a"), (b"idempotent-replayed", b"true"),
        (b"location", b"/v1"), (b"ratelimit", b"x"), (b"retry-after", b"1"), (b"content-length", b"2"),
        (b"set-cookie", b"1"), (b"set-cookie", b"2"),
    ]  # fmt: skip
    taken = [
        (b"connection", b"close"),
        (b"date", b"x"),
        (b"server", b"y"),
        (b"x-request-id", b"z"),
        (b"transfer-encoding", b"chunked"),
    ]
    assert relayed([*taken, *kept, *taken]) == kept


NAMES = st.sampled_from(
    sorted(HOP_BY_HOP | SPOOFABLE | {b"x-forwarded-for", b"host", b"accept", b"authorization", b"a"})
)
TEXTS = st.one_of(st.binary(max_size=20), st.sampled_from([b"close, accept", b"authorization", b"1"]))


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=12))
def test_nothing_that_must_not_pass_passes(headers: list[tuple[bytes, bytes]]) -> None:
    forwarded = sort_inbound(headers).forwarded
    assert not {name for name, _ in forwarded} & (HOP_BY_HOP | SPOOFABLE | {b"host", b"x-forwarded-for"})
    assert all(pair in headers for pair in forwarded)
