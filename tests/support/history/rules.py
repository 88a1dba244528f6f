"""A wallet re-enacted from its commands alone, in the order of its log: each outcome must be the one that follows.

A second, small statement of the rules of money, independent of the cell's own, for the commands that histories hold:
wallets that are open, of one currency, without overdraft or holds.
"""

from collections.abc import Iterator, Sequence

from history.model import Asked, Finding, History, Key, Ledger, StoredEntry

from contract.values import value


@value
class Outcome:
    """What an entry must be."""

    kind: str
    delta: int = 0
    reason: str | None = None


class ReenactedWallet:
    def __init__(self) -> None:
        self.balance = 0
        self._accepted: dict[str, Outcome] = {}
        self._refused: set[str] = set()
        self._reversed: dict[str, int] = {}

    def obey(self, asked: Asked) -> Outcome:
        outcome = self._judge(asked)
        if outcome.reason is not None:
            self._refused.add(asked.transaction_id)
            return outcome
        self._accepted[asked.transaction_id] = outcome
        if asked.kind == "reversal":
            original = str(asked.subject_id)
            self._reversed[original] = self._reversed.get(original, 0) + abs(outcome.delta)
        self.balance += outcome.delta
        return outcome

    def receive(self, amount: int) -> None:
        self.balance += amount

    def _judge(self, asked: Asked) -> Outcome:
        match asked.kind:
            case "credit":
                return Outcome(kind="credit", delta=_amount(asked))
            case "debit" | "transfer_out":
                return self._pay(asked.kind, _amount(asked))
            case "reversal":
                return self._reverse(asked)

    def _pay(self, kind: str, amount: int) -> Outcome:
        if amount > self.balance:
            return _refused("available_balance_must_cover_amount")
        return Outcome(kind=kind, delta=-amount)

    def _reverse(self, asked: Asked) -> Outcome:
        original = self._accepted.get(str(asked.subject_id))
        if original is None:
            is_known = asked.subject_id in self._refused
            return _refused("original_must_be_reversible" if is_known else "original_must_exist")
        if original.kind not in {"debit", "credit"}:
            return _refused("original_must_be_reversible")
        left = abs(original.delta) - self._reversed.get(str(asked.subject_id), 0)
        amount = left if asked.amount is None else asked.amount
        if amount > left or left == 0:
            return _refused("reversal_must_not_exceed_original")
        if original.delta > 0 and amount > self.balance:
            return _refused("available_balance_must_cover_amount")
        return Outcome(kind="reversal", delta=-amount if original.delta > 0 else amount)


def find_unexplained(history: History, ledger: Ledger) -> Iterator[Finding]:
    """The first entry of each wallet that does not follow from the commands before it."""
    asked = _deciding(history)
    for entries in ledger.entries.values():
        yield from _reenact(entries, asked)


def _reenact(entries: Sequence[StoredEntry], asked: dict[Key, Asked]) -> Iterator[Finding]:
    wallet = ReenactedWallet()
    for entry in entries:
        if entry.kind == "opened":
            continue
        if entry.kind == "transfer_in":
            wallet.receive(entry.delta)
            continue
        command = asked.get(entry.key)
        if command is None:
            return  # never asked: another check tells, and nothing after it can be judged
        expected = wallet.obey(command)
        found = Outcome(kind=entry.kind, delta=entry.delta, reason=entry.reason)
        if found != expected:
            detail = f"entry {entry.seq} for {command} is {found} and must be {expected}"
            yield Finding(
                check="unexplained", wallet_id=entry.wallet_id, transaction_id=entry.transaction_id, detail=detail
            )
            return


def _deciding(history: History) -> dict[Key, Asked]:
    """The content that was decided under each id, where there were several; undecided, the one sent first."""
    found: dict[Key, Asked] = {}
    decided: dict[Key, Asked] = {}
    for attempt in sorted(history.attempts, key=lambda one: one.began_s):
        found.setdefault(attempt.asked.key, attempt.asked)
        if attempt.decision is not None:
            decided.setdefault(attempt.asked.key, attempt.asked)
    return {**found, **decided}


def _amount(asked: Asked) -> int:
    if asked.amount is None:
        raise ValueError(f"{asked} names no amount")
    return asked.amount


def _refused(reason: str) -> Outcome:
    return Outcome(kind="refused", reason=reason)
