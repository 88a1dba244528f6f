"""One vendor under load: opens wallets in several cells, moves money within and between them, looks at its history.

It asks again with the same id until it is told the end, as the platform's own client does; every attempt is measured.
Runs inside locust only.
"""

import random
import uuid
from typing import Any, ClassVar

import gevent  # type: ignore[import-untyped]  # locust's own loop, which has no stubs
from locust import FastHttpUser, constant_throughput, events, task
from locust.env import Environment
from locust.exception import StopUser

from loadtests.journeys.account import Account

CURRENCY = "EUR"
OPENING_CREDIT = 100_000
TRIES_MAX = 200
PAUSE_S = 0.1
UNDECIDED = frozenset({0, 202, 429, 500, 502, 503, 504})
WALLETS = 3


class Vendor(FastHttpUser):
    """Requests are named by what they do and by the cell of the wallet, so that cells can be judged apart."""

    wait_time = constant_throughput(2)
    connection_timeout = 30.0
    network_timeout = 30.0
    token: ClassVar[str] = ""
    contradictions: ClassVar[list[str]] = []
    """Of all vendors of this process."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._dice = random.Random()
        self._account = Account()
        self._cells: dict[str, str] = {}
        self._headers = {"Authorization": f"Bearer {self.token}"}

    def on_start(self) -> None:
        for _ in range(WALLETS):
            self._open()
        for wallet_id in self._cells:
            self._post(wallet_id, "credit", amount=OPENING_CREDIT)

    def on_stop(self) -> None:
        for wallet_id in self._cells:
            self._read(wallet_id)
        self.contradictions.extend(self._account.contradictions)

    @task(10)
    def credit(self) -> None:
        self._post(self._wallet(), "credit", amount=self._amount())

    @task(20)
    def debit(self) -> None:
        self._post(self._wallet(), "debit", amount=self._amount())

    @task(4)
    def hold_and_capture(self) -> None:
        wallet_id = self._wallet()
        hold = self._post(wallet_id, "holds", amount=self._amount())
        if hold is not None:
            self._post(wallet_id, f"holds/{hold['hold_id']}/capture", named="capture", currency=None)

    @task(4)
    def transfer(self) -> None:
        sender, receiver = self._dice.sample(list(self._cells), 2)
        amount = self._amount()
        cells = (self._cells[sender], self._cells[receiver])
        posting = self._post(sender, "transfers", cells=cells, to_wallet_id=receiver, amount=amount)
        if posting is not None:
            self._account.received(receiver, amount)

    @task(20)
    def balance(self) -> None:
        self._read(self._wallet())

    @task(3)
    def history(self) -> None:
        wallet_id = self._wallet()
        self._ask("GET", f"/v1/wallets/{wallet_id}/entries?limit=20", "history", wallet_id, None)

    def _open(self) -> None:
        body = {"owner": {"type": "load", "ref": uuid.uuid4().hex}, "currency": CURRENCY}
        with self.client.post(
            "/v1/wallets", json=body, headers=self._headers, name="open [any]", catch_response=True
        ) as answer:
            if answer.status_code not in {200, 201}:
                answer.failure(f"{answer.status_code}")
                raise StopUser
            wallet = answer.json()
            self._cells[wallet["wallet_id"]] = answer.headers["X-Cell"]
        self._account.open(wallet["wallet_id"])

    def _post(
        self,
        wallet_id: str,
        verb: str,
        *,
        named: str | None = None,
        cells: tuple[str, ...] = (),
        currency: str | None = CURRENCY,
        **fields: Any,
    ) -> dict[str, Any] | None:
        """The posting, once it is decided; None = it was refused."""
        body = {"transaction_id": str(uuid.uuid4()), **fields, **({"currency": currency} if currency else {})}
        status, posting = self._ask("POST", f"/v1/wallets/{wallet_id}/{verb}", named or verb, wallet_id, body, *cells)
        if status != 201:
            return None
        self._account.posted(wallet_id, posting)
        return posting

    def _read(self, wallet_id: str) -> None:
        status, answer = self._ask("GET", f"/v1/wallets/{wallet_id}/balance", "balance", wallet_id, None)
        if status == 200:
            self._account.stated(wallet_id, answer)

    def _ask(
        self, method: str, path: str, named: str, wallet_id: str, body: dict[str, Any] | None, *cells: str
    ) -> tuple[int, dict[str, Any]]:
        name = f"{named} [{' '.join(sorted(set(cells)) or [self._cells[wallet_id]])}]"
        for _ in range(TRIES_MAX):
            with self.client.request(
                method, path, json=body, headers=self._headers, name=name, catch_response=True
            ) as answer:
                if answer.status_code in {200, 201, 422}:
                    answer.success()
                    return answer.status_code, answer.json()
                if answer.status_code not in UNDECIDED:
                    answer.failure(f"{answer.status_code} {answer.text}")
                    self._account.contradictions.append(f"{method} {path}: {answer.status_code} {answer.text}")
                    raise StopUser
                if answer.status_code == 202:
                    answer.success()
            gevent.sleep(PAUSE_S)
        self._account.contradictions.append(f"{method} {path} was never decided")
        raise StopUser

    def _wallet(self) -> str:
        return self._dice.choice(list(self._cells))

    def _amount(self) -> int:
        return self._dice.randint(1, 500)


def cells_of(name: str) -> tuple[str, ...]:
    """The cells that a request of this name needs."""
    return tuple(name.partition("[")[2].rstrip("]").split())


def _tell(client_id: str, data: dict[str, Any]) -> None:
    del client_id
    data["contradictions"] = list(Vendor.contradictions)
    Vendor.contradictions.clear()


def _hear(client_id: str, data: dict[str, Any]) -> None:
    del client_id
    Vendor.contradictions.extend(data.get("contradictions", ()))


events.report_to_master.add_listener(_tell)  # type: ignore[no-untyped-call]
events.worker_report.add_listener(_hear)  # type: ignore[no-untyped-call]
