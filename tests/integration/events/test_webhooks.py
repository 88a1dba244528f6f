"""From an entry to a vendor's endpoint: who gets what, in which order, signed, again after failures, never lost."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from cell_databases import CellDatabase
from cell_waiting import until
from event_log import EventLog
from receiver import Got, Receiver
from webhook_side import HOOK, SECRET, Side, webhook

from cell.background.duty import Duty
from cell.store.dead_letters import DeadLetters
from cell.telemetry import Metrics
from contract.answers import EntryAnswer
from contract.configuration import Webhook, WebhookSecret
from contract.webhooks import EventAnswer, SignatureMustFitError, check_signature, secret_of

OLD_SECRET, OTHER = (secret_of(bytes([number]) * 32) for number in (2, 3))
OTHER_HOOK = "00000000-0000-4000-8000-000000000002"


@pytest.fixture
async def side(database: CellDatabase) -> AsyncIterator[Side]:
    side = Side(database)
    yield side
    await side.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def begun(side: Side, *webhooks: Webhook) -> None:
    side.configure(*webhooks)
    await side.relay.round()


async def test_a_vendor_gets_its_entries_in_order_and_signed(log: EventLog, side: Side, receiver: Receiver) -> None:
    wallet = log.wallet()
    await begun(side, webhook(receiver.url))
    for vendor in ("acme", "other", "acme"):
        log.post(wallet, vendor=vendor)
    await side.rounds()
    assert receiver.seqs(wallet) == [1, 3]
    got = receiver.got[0]
    event = EventAnswer.model_validate_json(got.body)
    assert (event.type, event.cell, event.wallet_id, event.seq) == ("entry.credit", "cell-a", wallet, 1)
    assert event.event_id == f"{wallet}:1:{event.entry_hash}" == got.headers["webhook-id"]
    assert event.entry.description == "secret to others"
    assert event.occurred_at == event.entry.posted_at
    assert set(got.event["entry"]) <= set(EntryAnswer.model_fields)


async def test_the_signature_is_that_of_standard_webhooks(log: EventLog, side: Side, receiver: Receiver) -> None:
    """Computed here from the text of the standard alone."""
    await begun(side, webhook(receiver.url))
    log.post(log.wallet())
    await side.rounds()
    got = receiver.got[0]
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = got.headers["webhook-id"] + "." + got.headers["webhook-timestamp"] + "." + got.body.decode()
    expected = base64.b64encode(hmac.new(key, signed.encode(), hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    now_s = int(got.headers["webhook-timestamp"])
    check_signature(got.headers, got.body, SECRET, now_s=now_s)
    for body, secret, at_s in (
        (got.body + b" ", SECRET, now_s),
        (got.body, OTHER, now_s),
        (got.body, SECRET, now_s + 301),
    ):
        with pytest.raises(SignatureMustFitError):
            check_signature(got.headers, body, secret, now_s=at_s)


async def test_after_a_rotation_the_old_secret_signs_too_until_its_end(
    log: EventLog, side: Side, receiver: Receiver
) -> None:
    secrets = (
        WebhookSecret(secret=SECRET),
        WebhookSecret(secret=OLD_SECRET, until="2999-01-01T00:00:00.000000Z"),
        WebhookSecret(secret=OTHER, until="2001-01-01T00:00:00.000000Z"),
    )
    await begun(side, webhook(receiver.url, secrets=secrets))
    log.post(log.wallet())
    await side.rounds()
    got = receiver.got[0]
    now_s = int(got.headers["webhook-timestamp"])
    for secret in (SECRET, OLD_SECRET):
        check_signature(got.headers, got.body, secret, now_s=now_s)
    with pytest.raises(SignatureMustFitError):
        check_signature(got.headers, got.body, OTHER, now_s=now_s)


async def test_who_hears_of_what(log: EventLog, side: Side, receiver: Receiver) -> None:
    """What is done to a vendor's own transactions and holds is its affair; another's words are not."""
    async with Receiver() as others:
        wallet = log.wallet()
        own = webhook(receiver.url, kinds=("expire", "refused"))
        await begun(side, own, webhook(others.url, vendor="other", hook=OTHER_HOOK))
        log.post(wallet, kind="credit")
        log.post(wallet, kind="expire", vendor="@cell", subject_vendor_id="acme", subject_id=HOOK)
        log.post(wallet, kind="refused", vendor="other")
        log.post(wallet, kind="reversal", vendor="acme", subject_vendor_id="other", subject_id=HOOK)
        await side.rounds()
        assert receiver.seqs(wallet) == [2]
        assert others.seqs(wallet) == [3, 4]
        assert "secret to others" in others.got[0].body.decode(), "its own"
        for got in (receiver.got[0], others.got[1]):
            assert "secret to others" not in got.body.decode()
            assert "context" not in got.event["entry"]


async def test_a_failure_holds_back_its_own_wallet_only(log: EventLog, side: Side, receiver: Receiver) -> None:
    bad, good = log.wallet(), log.wallet()
    failures = 2

    async def answer(got: Got) -> int:
        nonlocal failures
        if got.event["wallet_id"] == bad and failures:
            failures -= 1
            return 500
        return 200

    receiver.answer = answer
    await begun(side, webhook(receiver.url))
    for _ in range(3):
        log.post(bad)
        log.post(good)
    await side.rounds()

    async def done() -> bool:
        await side.rounds()
        return len(receiver.seqs(bad)) == 5

    await until(done)
    assert receiver.seqs(bad) == [1, 1, 1, 2, 3]
    assert receiver.seqs(good) == [1, 2, 3]
    assert len({got.body for got in receiver.got if got.place == (bad, 1)}) == 1, "every attempt sends the same bytes"
    assert side.configuration is not None


async def test_a_redirect_is_a_failure(log: EventLog, side: Side, receiver: Receiver, database: CellDatabase) -> None:
    async def elsewhere(_: Got) -> int:
        return 302

    receiver.answer = elsewhere
    await begun(side, webhook(receiver.url))
    log.post(log.wallet())
    await side.rounds()
    assert database.one("SELECT last_error FROM webhook_deliveries") == "status 302"


async def test_after_the_last_attempt_the_line_goes_on_and_the_letter_can_be_sent_again(
    log: EventLog, side: Side, receiver: Receiver, database: CellDatabase
) -> None:
    wallet, is_mended = log.wallet(), False

    async def answer(got: Got) -> int:
        return 200 if is_mended or got.event["seq"] != 1 else 503

    receiver.answer = answer
    await begun(side, webhook(receiver.url))
    log.post(wallet)
    log.post(wallet)

    async def passed() -> bool:
        await side.rounds()
        return 2 in receiver.seqs(wallet)

    await until(passed)
    assert receiver.seqs(wallet) == [1, 1, 1, 2]
    letters = DeadLetters(database.app_url)
    (letter,) = await letters.page(webhook_id=HOOK, vendor_id="acme", after=None, limit=10)
    assert (letter.wallet_id, letter.seq, letter.attempts, letter.last_error) == (wallet, 1, 3, "status 503")
    assert await letters.page(webhook_id=HOOK, vendor_id="other", after=None, limit=10) == []
    assert await letters.redeliver(webhook_id=HOOK, vendor_id="other") == 0
    assert await letters.redeliver(webhook_id=HOOK, vendor_id="acme") == 1
    is_mended = True
    await side.rounds()
    assert receiver.seqs(wallet)[-1] == 1
    assert database.count("webhook_deliveries") == database.count("webhook_lines") == 0


async def test_a_receiver_that_hangs_is_given_up_and_slows_nobody(log: EventLog, database: CellDatabase) -> None:
    side = Side(database, timeout_s=0.2, attempts_max=1, concurrency=4, concurrency_per_webhook=2)
    async with Receiver() as slow, Receiver() as quick:
        asked_to_go = asyncio.Event()

        async def hang(_: Got) -> int:
            await asked_to_go.wait()
            return 200

        slow.answer = hang
        wallets = [log.wallet() for _ in range(6)]
        await begun(side, webhook(slow.url), webhook(quick.url, hook=OTHER_HOOK))
        for wallet in wallets:
            log.post(wallet)
        await side.rounds()
        assert sorted(got.place for got in quick.got) == sorted((wallet, 1) for wallet in wallets)

        async def given_up() -> bool:
            await side.courier.round()
            return bool(database.one("SELECT count(*) = 6 FROM webhook_deliveries WHERE dead_at IS NOT NULL"))

        await until(given_up)
        assert database.one("SELECT min(last_error) FROM webhook_deliveries") == "no answer within 0.2 s"
        asked_to_go.set()
    await side.stop()


@asynccontextmanager
async def on_duty(side: Side, database: CellDatabase) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Relay and courier under their locks, as a process has them."""
    metrics = Metrics(cell_id="cell-a", zone="zone-1", software_version="1")
    duties = [
        Duty(database_url=database.app_url, name=name, period_s=0.02, work=work, metrics=metrics)
        for name, work in (("relay-webhooks", side.relay.round), ("webhook-delivery", side.courier.round))
    ]
    tasks = [asyncio.create_task(duty.run()) for duty in duties]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await side.stop()


async def test_when_the_holder_dies_nothing_is_lost_and_order_is_kept(
    log: EventLog, database: CellDatabase, receiver: Receiver
) -> None:
    """Its connections are cut in the middle; the next holder goes on where it was, with repetitions at most."""
    wallets, first, second = [log.wallet() for _ in range(4)], Side(database), Side(database)
    for side in (first, second):
        side.configure(webhook(receiver.url))
    await first.relay.round()

    async def posted() -> None:
        for _ in range(10):
            for wallet in wallets:
                await asyncio.to_thread(log.post, wallet)

    async with on_duty(first, database) as dying, on_duty(second, database):
        posting = asyncio.create_task(posted())
        await until(lambda: len(receiver.got) > 5)
        for task in dying:
            task.cancel()
        await first.courier.stop()
        await asyncio.to_thread(
            database.sql,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name IN ('test', 'relay-webhooks')",
        )
        await posting
        # What was under way when it died is sent again when its lease ends.
        await asyncio.to_thread(database.sql, "UPDATE webhook_lines SET due_at = now()")
        await until(lambda: all(set(receiver.seqs(wallet)) == set(range(1, 11)) for wallet in wallets))
    for wallet in wallets:
        firsts = list(dict.fromkeys(receiver.seqs(wallet)))
        assert firsts == list(range(1, 11)), "apart from repetitions, in order"


async def test_a_holder_with_an_old_configuration_passes_nobody_over(
    log: EventLog, database: CellDatabase, receiver: Receiver
) -> None:
    wallet, up_to_date, stale = log.wallet(), Side(database), Side(database)
    up_to_date.configure(webhook(receiver.url), version=2)
    await up_to_date.relay.round()
    stale.configure(version=1)
    log.post(wallet)
    await stale.rounds()
    assert receiver.seqs(wallet) == [1]
    for side in (up_to_date, stale):
        await side.stop()


async def test_a_webhook_that_is_gone_takes_its_deliveries_along(
    log: EventLog, side: Side, receiver: Receiver, database: CellDatabase
) -> None:
    await begun(side, webhook(receiver.url))
    log.post(log.wallet())
    await side.relay.round()
    assert database.count("webhook_deliveries") == database.count("webhook_lines") == 1
    side.configure(version=2)
    await side.rounds()
    assert database.count("webhook_deliveries") == database.count("webhook_lines") == 0
    assert receiver.got == []
