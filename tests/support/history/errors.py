"""Who was hurt: attempts that brought no decision although nothing was wrong with them or with their cell."""

from collections.abc import Iterable, Iterator

from history.model import Finding, History


def find_errors(history: History, *, wallet_ids: Iterable[str]) -> Iterator[Finding]:
    """Every attempt on these wallets that a healthy platform would have decided, or answered as a conflict or as on its
    way (between wallets that live in two cells for the moment).
    """
    watched = frozenset(wallet_ids)
    for attempt in history.attempts:
        answer = attempt.answer
        if attempt.asked.wallet_id not in watched or attempt.decision is not None:
            continue
        if answer is not None and answer.status in {202, 409}:
            continue
        detail = attempt.fault if answer is None else f"{answer.status} {answer.document.get('reason')}"
        yield Finding(
            check="error_seen",
            wallet_id=attempt.asked.wallet_id,
            transaction_id=attempt.asked.transaction_id,
            detail=detail,
        )
