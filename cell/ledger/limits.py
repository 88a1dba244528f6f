"""Limits of what may be taken from a wallet, as a command meets them. Policy is data: it comes with the command.

A daily sum counts debits, transfers out, debit legs of groups, and holds as they are placed, at their full amount. What
comes back later (a reversal, a refund, a released hold) is not given back to the day: the limit bounds what was
promised.
"""

from contract.values import value

SpentKey = tuple[str, str]
"""(wallet id, vendor id); an empty vendor id is the sum of all vendors."""

DAY_US = 86_400_000_000


@value
class Caps:
    """What applies to one vendor on one wallet; None = no limit. Amounts in minor units of the wallet's currency."""

    amount_max: int | None = None
    """Of a single command: the least of the vendor's, the wallet's and their own."""
    wallet_day_max: int | None = None
    """Of a UTC day, over all vendors."""
    vendor_day_max: int | None = None
    """Of a UTC day, for this vendor on this wallet."""


def day_of(instant_us: int) -> int:
    """UTC days since 1970-01-01."""
    return instant_us // DAY_US


def counted(caps: Caps | None, *, wallet_id: str, vendor_id: str) -> tuple[SpentKey, ...]:
    """The sums that these caps need to be kept."""
    if caps is None:
        return ()
    keys = []
    if caps.wallet_day_max is not None:
        keys.append((wallet_id, ""))
    if caps.vendor_day_max is not None:
        keys.append((wallet_id, vendor_id))
    return tuple(keys)


def is_within(caps: Caps, amount: int, *, spent_by_all: int, spent_by_vendor: int) -> bool:
    """Whether `amount` more may be taken after what was taken today."""
    return (
        (caps.amount_max is None or amount <= caps.amount_max)
        and (caps.wallet_day_max is None or spent_by_all + amount <= caps.wallet_day_max)
        and (caps.vendor_day_max is None or spent_by_vendor + amount <= caps.vendor_day_max)
    )
