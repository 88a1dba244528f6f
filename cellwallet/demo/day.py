"""A vendor's day: its scenes in order, and its totals. Each scene acts through the client, checks what came of it, and
tells it in a few lines; printing is the command's affair.
"""

from collections import Counter
from collections.abc import Generator

from cellwallet.client import Client, accepted
from cellwallet.demo import counter, evidence, listening, passing_on, rules
from cellwallet.demo.operations import Operations
from cellwallet.demo.stage import Scene, Stage
from contract.values import value


@value
class Totals:
    """Minor units of one currency; in - out + given back = what lies in the wallets."""

    wallets: int
    cells: int
    money_in: int
    money_out: int
    given_back: int
    in_wallets: int
    held: int
    entries: int

    @property
    def difference(self) -> int:
        return self.money_in - self.money_out + self.given_back - self.in_wallets


class VendorDay:
    """Play `scenes` to their end, then ask for `totals`.

    `brief` is a client of the router at `url` that soon gives up, for what is taken back at the end. Without
    `operations` some scenes tell why they cannot be played.
    """

    def __init__(self, client: Client, *, brief: Client, url: str, run: str, operations: Operations | None) -> None:
        self._stage = Stage(client, run=run)
        self._brief = brief
        self._url = url
        self._operations = operations

    @property
    def a_wallet_id(self) -> str:
        """A customer's wallet, for whoever wants to go on from here."""
        return self._stage.anna.wallet_id

    def scenes(self) -> Generator[Scene, None, None]:
        """One scene after the other, each played when it is asked for; to be closed when it is left early.

        Raises:
            DayMustGoAsToldError: the platform did something else.
            CallFailedError: a call failed.

        """
        stage = self._stage
        with listening.listening(self._brief, self._url) as mailbox:
            yield counter.opening(stage)
            yield counter.payday(stage)
            breakfast_ends_at = stage.postings[-1].posted_at
            yield counter.coffee(stage)
            yield counter.too_little_money(stage)
            yield counter.lost_answer(stage)
            yield counter.same_id_for_something_else(stage)
            yield counter.complaint(stage)
            yield passing_on.hotel(stage)
            yield passing_on.parking(stage)
            yield rules.daily_limit(stage, self._operations)
            yield passing_on.pocket_money(stage)
            yield passing_on.abroad(stage)
            yield passing_on.shared_bill(stage)
            yield passing_on.bonus(stage)
            yield listening.event(stage, mailbox)
            yield evidence.looking_back(stage, breakfast_ends_at)
            yield evidence.statement(stage)
            yield evidence.histories(stage)
            yield evidence.signature(stage, self._operations)

    def totals(self) -> Totals:
        """What the day did, and what lies in its wallets now."""
        stage = self._stage
        wallets = [accepted(stage.client.wallet(wallet.wallet_id)) for wallet in stage.wallets]
        deltas: Counter[str] = Counter()
        for posting in stage.postings:
            deltas[posting.kind] += posting.delta
        return Totals(
            wallets=len(wallets),
            cells=len({wallet.cell for wallet in wallets}),
            money_in=deltas["credit"],
            money_out=-deltas["debit"] - deltas["capture"],
            given_back=deltas["reversal"],
            in_wallets=sum(wallet.balance for wallet in wallets),
            held=sum(wallet.held for wallet in wallets),
            entries=stage.entries,
        )
