"""The rendered requests, held against the contract that the cells read them with."""

import itertools
import json

import pytest

from contract.bodies import OpenWalletBody, PostingBody
from loadtests.load import Load, Openings, Pace, Postings, Reads, Target
from loadtests.payloads import Payload, payloads, target_of, wallet_of

TARGETS = (Target(port=1), Target(port=2))
PACE = Pace(duration_s=1, concurrency=1)
WALLETS = [wallet_of(f"owner {number}") for number in range(50)]
POSTINGS = Postings(wallets=WALLETS, token="token", seed=1, run=3)


def first(asks: Postings | Openings | Reads, count: int, *, share: int = 0, shares: int = 1) -> list[Payload]:
    load = Load(targets=TARGETS, asks=asks, pace=PACE)
    return list(itertools.islice(payloads(load, share=share, shares=shares), count))


def parts(request: bytes) -> tuple[str, str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    method, path, _ = line.split()
    return method, path, dict(one.split(": ", 1) for one in lines), body


def test_postings_are_what_the_contract_reads() -> None:
    for place, request, delta in first(POSTINGS, 200):
        method, path, headers, body = parts(request)
        _, _, _, wallet, verb = path.split("/")
        posting = PostingBody.model_validate_json(body)
        assert (method, headers["Authorization"], int(headers["Content-Length"])) == ("POST", "Bearer token", len(body))
        assert (verb, abs(delta)) == ("credit" if delta > 0 else "debit", posting.amount)
        assert wallet in WALLETS
        assert place == target_of(wallet, len(TARGETS))


def test_ids_are_never_used_twice() -> None:
    loads = [
        first(POSTINGS, 500, share=0, shares=2),
        first(POSTINGS, 500, share=1, shares=2),
        first(Postings(wallets=WALLETS, token="token", seed=1, run=4), 500),
    ]
    ids = [json.loads(parts(request)[3])["transaction_id"] for one in loads for _, request, _ in one]
    assert len(set(ids)) == 1_500


def test_credits_and_debits_cancel_out() -> None:
    assert sum(delta for _, _, delta in first(POSTINGS, 1_000)) == 0


def test_one_wallet_is_always_the_same() -> None:
    hot = Postings(wallets=WALLETS[:1], token="token")
    assert {parts(request)[1].split("/")[3] for _, request, _ in first(hot, 50)} == {WALLETS[0]}


def test_openings_are_what_the_contract_reads_and_each_is_sent_once() -> None:
    owners = [f"owner {number}" for number in range(7)]
    asks = Openings(owners=owners, token="token", overdraft_limit=5)
    requests = [request for share in range(2) for _, request, _ in first(asks, 100, share=share, shares=2)]
    opened = set()
    for request in requests:
        method, path, _, body = parts(request)
        opening = OpenWalletBody.model_validate_json(body)
        assert (method, path) == ("PUT", f"/v1/wallets/{wallet_of(opening.owner.ref)}")
        opened.add(opening.owner.ref)
    assert sorted(opened) == owners
    assert len(requests) == len(owners)


def test_reads_go_round_and_round() -> None:
    paths = [f"/v1/wallets/{wallet}/balance" for wallet in WALLETS[:3]]
    asked = [parts(request)[1] for _, request, _ in first(Reads(paths=paths, wallets=WALLETS[:3], token="t"), 7)]
    assert asked == [*paths, *paths, paths[0]]


@pytest.mark.parametrize("targets", [1, 2, 3])
def test_wallets_are_spread_over_the_processes(targets: int) -> None:
    places = {target_of(wallet, targets) for wallet in WALLETS}
    assert places == set(range(targets))
