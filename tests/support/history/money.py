"""No money comes from nowhere: each cell's books sum to zero, and the wallets hold what outsiders put in."""

from collections.abc import Iterator

from history.model import Finding, Ledger

FROM_OUTSIDE = frozenset({"debit", "credit", "reversal"})


def find_minted_money(ledger: Ledger) -> Iterator[Finding]:
    for total in ledger.totals:
        if total.wallets + total.accounts != 0:
            detail = f"{total.currency} in {total.cell}: wallets {total.wallets}, system accounts {total.accounts}"
            yield Finding(check="unbalanced", wallet_id="", detail=detail)
    brought = sum(entry.delta for entries in ledger.entries.values() for entry in entries if entry.kind in FROM_OUTSIDE)
    held = sum(wallet.balance for wallet in ledger.wallets.values())
    if brought != held:
        yield Finding(check="minted", wallet_id="", detail=f"{brought} came from outside, the wallets hold {held}")
