"""Requests as bytes, rendered beforehand but for what must differ: ids, amounts and wallets. Pure.

Ids of transactions have the form of UUID v7, as vendors are advised: ascending, here by a counter. A request's bytes
are put together in about a microsecond, because the sender shares the machine with what it measures.
"""

import itertools
import json
import zlib
from collections.abc import Iterator
from typing import assert_never

from contract.headers import AUTHORIZATION, JSON_TYPE
from contract.ids import WalletId, wallet_id_of
from contract.slots import SLOTS
from loadtests.load import Bulks, Load, Openings, Postings, Reads
from loadtests.skew import picks

OWNER_TYPE, KIND, CURRENCY = "bench", "main", "EUR"
AMOUNT_MIN, AMOUNTS = 100, 900
"""Three digits: bodies are of one length."""
PICKS = 1 << 18
"""Wallets are drawn so many times beforehand, then the draw is repeated."""

Payload = tuple[int, bytes, int]
"""Number of the target, the request, and what the balance changes by when it is accepted."""


def payloads(load: Load, *, share: int, shares: int) -> Iterator[Payload]:
    """The requests of one of `shares` senders, in order."""
    match load.asks:
        case Postings() as postings:
            return _postings(postings, len(load.targets), share=share)
        case Openings() as openings:
            return _openings(openings, len(load.targets), share=share, shares=shares)
        case Reads() as reads:
            return _reads(reads, len(load.targets), share=share)
        case Bulks() as bulks:
            return _bulks(bulks, len(load.targets), share=share)
        case _ as never:
            assert_never(never)


def wallet_of(owner: str) -> WalletId:
    return wallet_id_of(owner_type=OWNER_TYPE, owner_ref=owner, kind=KIND, currency=CURRENCY)


def target_of(wallet_id: str, targets: int) -> int:
    """As the router does it, each wallet has its process; other bits of the hash than those that choose the lane."""
    return zlib.crc32(wallet_id.encode()) // SLOTS % targets


def id_prefix(*, run: int, share: int) -> str:
    """All but the last twelve digits, which count."""
    return f"{run:08x}-{share:04x}-7000-8000-"


def _postings(asks: Postings, targets: int, *, share: int) -> Iterator[Payload]:
    wallets = [wallet.encode() for wallet in asks.wallets]
    places = [target_of(wallet, targets) for wallet in asks.wallets]
    prefix = id_prefix(run=asks.run, share=share).encode()
    body = b'{"transaction_id":"%b%012x","amount":%d,"currency":"EUR","description":"bench"}'
    length = len(body % (prefix, 0, AMOUNT_MIN))
    head = b"POST /v1/wallets/%b/%b HTTP/1.1\r\n" + _head(asks.token) + b"Content-Length: %d\r\n\r\n" % length
    template = head + body
    seed = asks.seed * 1_000 + share
    drawn = picks(PICKS, population=len(wallets), skew=asks.skew, seed=seed) if len(wallets) > 1 else [0]

    def rendered() -> Iterator[Payload]:
        sides = itertools.cycle(((b"credit", 1), (b"debit", -1)))
        for number, pick, (verb, sign) in zip(itertools.count(), itertools.cycle(drawn), sides, strict=False):
            amount = AMOUNT_MIN + (number >> 1) % AMOUNTS
            yield places[pick], template % (wallets[pick], verb, prefix, number, amount), sign * amount

    return rendered()


def _bulks(asks: Bulks, targets: int, *, share: int) -> Iterator[Payload]:
    """Any process takes any wallet of its cell, so they go round."""
    prefix = id_prefix(run=asks.run, share=share).encode()
    template = b'{"op":"%b","wallet_id":"%b","transaction_id":"%b%012x","amount":%d,"currency":"EUR"}'
    wallets = itertools.cycle([wallet.encode() for wallet in asks.wallets])
    head = b"POST /v1/bulk HTTP/1.1\r\n" + _head(asks.token)
    for request in itertools.count():
        first = request * asks.operations
        operations, delta = [], 0
        for number, wallet in zip(range(first, first + asks.operations), wallets, strict=False):
            amount = AMOUNT_MIN + (number >> 1) % AMOUNTS
            operations.append(template % (b"debit" if number & 1 else b"credit", wallet, prefix, number, amount))
            delta += -amount if number & 1 else amount
        body = b'{"operations":[' + b",".join(operations) + b"]}"
        yield request % targets, head + b"Content-Length: %d\r\n\r\n" % len(body) + body, delta


def _openings(asks: Openings, targets: int, *, share: int, shares: int) -> Iterator[Payload]:
    head = _head(asks.token)
    for owner in asks.owners[share::shares]:
        wallet_id = wallet_of(owner)
        body = json.dumps(
            {
                "owner": {"type": OWNER_TYPE, "ref": owner},
                "currency": CURRENCY,
                "kind": KIND,
                "overdraft_limit": asks.overdraft_limit,
            }
        ).encode()
        request = b"PUT /v1/wallets/%b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b"
        yield target_of(wallet_id, targets), request % (wallet_id.encode(), head, len(body), body), 0


def _reads(asks: Reads, targets: int, *, share: int) -> Iterator[Payload]:
    head = _head(asks.token)
    requests: list[Payload] = [
        (target_of(wallet, targets), b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), head), 0)
        for path, wallet in zip(asks.paths, asks.wallets, strict=True)
    ]
    return itertools.cycle(requests[share:] + requests[:share])


def _head(token: str) -> bytes:
    """The same for all requests; a token holds no percent sign, so it may be part of a template."""
    return (
        f"Host: 127.0.0.1\r\nUser-Agent: cellwallet-loadtests\r\n"
        f"{AUTHORIZATION}: Bearer {token}\r\nContent-Type: {JSON_TYPE}\r\n"
    ).encode()
