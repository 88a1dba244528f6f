"""Many accounts at once: a process per CPU, in each some threads, each with one blocking client of its own.

Processes, because an HTTP client is bound by its CPU: a call costs about 0.5 ms in httpx, twice that in its asyncio
client. A client per thread, because a pool that many share costs more than it gives. Some threads per process, because
a cell commits together what arrives together, and that makes each movement cheaper for it.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from cellwallet.client import CallFailedError, Client, RefusedError, Retries
from cellwallet.replaying.movements import Account
from cellwallet.replaying.posting import AccountOutcome, post_account
from contract.values import value

RETRIES = Retries(attempts_max=60, deadline_s=60.0)
"""A replay outlives the restart of a cell."""


class WorkerMustFinishError(Exception):
    """A worker process ended before its accounts were posted; running again continues."""


@value
class Target:
    url: str
    token: str


def post_accounts(
    accounts: list[Account], target: Target, *, processes: int, connections: int
) -> Generator[AccountOutcome]:
    """The outcomes in the order of completion. Closing the iterator early ends the workers at once, which is safe:
    whatever was sent is found again by its id.

    Raises:
        CallFailedError: of the first account whose calls failed for good.
        WorkerMustFinishError: somebody killed a worker.

    """
    longest_first = sorted(accounts, key=lambda account: -len(account.movements))
    shares = [share for number in range(processes) if (share := longest_first[number::processes])]
    workers: list[tuple[SpawnProcess, Connection]] = []
    try:
        with _held_back(signal.SIGINT):
            for number, share in enumerate(shares):
                workers.append(_start(share, target, connections=_part(connections, number, len(shares))))
        yield from _outcomes([receiver for _, receiver in workers])
        for process, _ in workers:
            process.join()
            if process.exitcode != 0:
                raise WorkerMustFinishError(f"a worker process ended with exit code {process.exitcode}")
    finally:
        for process, receiver in workers:
            process.terminate()
            process.join()
            receiver.close()


@contextmanager
def _held_back(number: signal.Signals) -> Iterator[None]:
    """Ctrl-C reaches the whole terminal group. Processes that start in here never hear it; we do, once this is over."""
    resource_tracker.ensure_running()  # its own start would lift the mask
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


def _start(share: list[Account], target: Target, *, connections: int) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_post_share, args=(share, target, connections, sender), daemon=True)
    process.start()
    sender.close()  # ours; the pipe ends when the worker's closes
    return process, receiver


def _part(connections: int, number: int, shares: int) -> int:
    """So many of the connections for this share; every share has at least one."""
    return max(1, len(range(number, connections, shares)))


def _outcomes(receivers: list[Connection]) -> Iterator[AccountOutcome]:
    open_receivers = set(receivers)
    while open_receivers:
        ready = wait(list(open_receivers))
        for receiver in [one for one in open_receivers if one in ready]:
            try:
                told: AccountOutcome | CallFailedError | RefusedError = receiver.recv()
            except EOFError:
                open_receivers.discard(receiver)
                continue
            if not isinstance(told, AccountOutcome):
                raise told
            yield told


def _post_share(share: list[Account], target: Target, connections: int, sender: Connection) -> None:
    """The life of a worker process: tells each outcome, or the failure that ends it."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    mine = threading.local()

    def open_client() -> None:
        mine.client = Client(target.url, target.token, retries=RETRIES)

    with ThreadPoolExecutor(connections, initializer=open_client) as pool:
        tasks = [pool.submit(lambda account: post_account(mine.client, account), account) for account in share]
        try:
            for task in as_completed(tasks):
                sender.send(task.result())
        except (CallFailedError, RefusedError) as failure:
            sender.send(failure)
            pool.shutdown(cancel_futures=True)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
