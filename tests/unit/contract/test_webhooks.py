"""Signatures of deliveries against the example of the standard, and the addresses that no vendor may name."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.webhooks import (
    SignatureMustFitError,
    check_signature,
    is_public,
    letter_cursor,
    letter_place,
    secret_of,
    signature,
    signed_headers,
    url_flaw,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
NOW_S = 1_614_265_330


def test_the_vector_of_the_standard() -> None:
    """As published with the reference libraries of Standard Webhooks."""
    made = signature(secret=SECRET, event_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp_s=NOW_S, body=BODY)
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def headers(**changes: str) -> dict[str, str]:
    made = signed_headers(secrets=[SECRET, secret_of(bytes(32))], event_id="e:1", timestamp_s=NOW_S, body=BODY)
    return {name.title(): changes.get(name.replace("-", "_"), text) for name, text in made.items()}


@pytest.mark.parametrize("secret", [SECRET, secret_of(bytes(32))])
def test_either_of_two_secrets_fits(secret: str) -> None:
    check_signature(headers(), BODY, secret, now_s=NOW_S + 300)


@pytest.mark.parametrize(
    ("changes", "body", "secret", "now_s"),
    [
        ({}, BODY + b" ", SECRET, NOW_S),
        ({}, b"", SECRET, NOW_S),
        ({}, BODY, secret_of(bytes(31) + b"x"), NOW_S),
        ({}, BODY, SECRET, NOW_S + 301),
        ({}, BODY, SECRET, NOW_S - 301),
        ({"webhook_id": "e:2"}, BODY, SECRET, NOW_S),
        ({"webhook_id": ""}, BODY, SECRET, NOW_S),
        ({"webhook_timestamp": str(NOW_S + 1)}, BODY, SECRET, NOW_S),
        ({"webhook_timestamp": "now"}, BODY, SECRET, NOW_S),
        ({"webhook_timestamp": "-1"}, BODY, SECRET, NOW_S),
        ({"webhook_timestamp": "9" * 400}, BODY, SECRET, NOW_S),
        ({"webhook_signature": ""}, BODY, SECRET, NOW_S),
        ({"webhook_signature": "v1,"}, BODY, SECRET, NOW_S),
        ({"webhook_signature": "v1,é v2,x"}, BODY, SECRET, NOW_S),
    ],
)
def test_anything_altered_is_seen(changes: dict[str, str], body: bytes, secret: str, now_s: float) -> None:
    with pytest.raises(SignatureMustFitError):
        check_signature(headers(**changes), body, secret, now_s=now_s)


def test_without_headers_nothing_fits() -> None:
    with pytest.raises(SignatureMustFitError):
        check_signature({}, BODY, SECRET, now_s=NOW_S)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::", "::1", "fe80::1", "fd00::1"),
        *("::ffff:127.0.0.1", "64:ff9b::a00:1", "2002:7f00:1::", "ff02::1", "2001:db8::1"),
    ],
)
def test_what_is_not_of_the_open_internet(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_what_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.text())
def test_no_text_breaks_the_look_at_a_url(text: str) -> None:
    for url in (text, f"https://{text}", f"https://vendor.example{text}"):
        assert url_flaw(url, may_be_local=False) is None or url_flaw(url, may_be_local=False)


@given(st.text())
def test_no_text_breaks_the_look_at_a_cursor(text: str) -> None:
    letter_place(text)


def test_a_cursor_names_its_place() -> None:
    wallet = "00000000-0000-4000-8000-000000000001"
    place = letter_place(letter_cursor({"dead_at": "2026-01-01T00:00:00.000001Z", "wallet_id": wallet, "seq": 7}))
    assert place is not None
    assert (place[0].microsecond, place[1], place[2]) == (1, wallet, 7)
