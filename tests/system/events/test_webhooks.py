"""The whole platform: a vendor makes a webhook at the router and receives what it posts, signed; the API is killed."""

import asyncio
import os
import signal
from pathlib import Path

from cell_waiting import until
from local_platform import local_platform
from receiver import Receiver

from cellwallet.client import AsyncClient, Posting, Wallet, Webhook, accepted, verify_webhook


async def test_a_vendor_receives_what_it_posts_whoever_dies(tmp_path: Path) -> None:
    with local_platform(tmp_path / "data", cells=1, api_processes=2) as platform:
        stack = platform.stack
        async with Receiver() as receiver, AsyncClient(stack.router_url, stack.tokens.vendor) as client:
            webhook = accepted(await client.create_webhook(receiver.url, kinds=["credit"]))
            assert isinstance(webhook, Webhook)
            assert webhook.secret is not None
            wallet = accepted(await client.open_wallet(owner_type="person", owner_ref="alice", currency="EUR"))
            assert isinstance(wallet, Wallet)

            async def post() -> int:
                posting = accepted(await client.credit(wallet.wallet_id, amount=1, currency="EUR"))
                assert isinstance(posting, Posting)
                return posting.seq

            async def first_arrived() -> bool:
                await post()
                await asyncio.sleep(0.1)
                return bool(receiver.got)

            await until(first_arrived)
            os.kill(stack.cells[0].pids.api[0], signal.SIGKILL)
            last = max([await post() for _ in range(10)])
            begun = receiver.seqs(wallet.wallet_id)[0]
            await until(lambda: set(receiver.seqs(wallet.wallet_id)) == set(range(begun, last + 1)))
            seqs = list(dict.fromkeys(receiver.seqs(wallet.wallet_id)))
            assert seqs == list(range(begun, last + 1)), "in order, apart from repetitions"
            got = receiver.got[-1]
            event = verify_webhook(got.headers, got.body, webhook.secret)
            assert (event["type"], event["cell"]) == ("entry.credit", stack.cells[0].id)
            letters = accepted(await client.dead_letters(webhook.id))
            assert letters.dead_letters == ()
            assert accepted(await client.delete_webhook(webhook.id)).webhooks == ()
