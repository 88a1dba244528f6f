"""Limits as the cell's configuration says them, made ready for the write path: one look per command.

Owns which limits meet on one vendor and one wallet; what they mean for a command is cell/ledger/limits.py's.
"""

from collections.abc import Mapping

from cell.ledger.limits import Caps
from contract.configuration import CellConfiguration, Limit


class LimitPolicy:
    """Without a configuration there is no limit, and no token is valid either."""

    def __init__(self) -> None:
        self._by_vendor: Mapping[str, Caps] = {}
        self._by_wallet: Mapping[str, Caps] = {}
        self._by_both: Mapping[str, Mapping[str, Caps]] = {}

    def configure(self, configuration: CellConfiguration) -> None:
        """In force from the next command on; what is queued already goes by what it was given."""
        limits = configuration.limits
        by_vendor = {
            vendor: Caps(amount_max=policy.limits.amount_max)
            for vendor, policy in configuration.vendors.items()
            if policy.limits.amount_max is not None
        }
        by_wallet = {
            wallet: Caps(amount_max=limit.amount_max, wallet_day_max=limit.day_max)
            for wallet, limit in limits.wallets.items()
        }
        self._by_both = {
            wallet: {
                vendor: _together(by_vendor.get(vendor), by_wallet.get(wallet), limit)
                for vendor, limit in by_wallets_vendor.items()
            }
            for wallet, by_wallets_vendor in limits.vendor_wallets.items()
        }
        self._by_vendor, self._by_wallet = by_vendor, by_wallet

    def caps_for(self, vendor_id: str, wallet_id: str) -> Caps | None:
        """None = nothing limits this vendor on this wallet."""
        by_vendor_here = self._by_both.get(wallet_id)
        if by_vendor_here is not None and (caps := by_vendor_here.get(vendor_id)) is not None:
            return caps
        of_wallet = self._by_wallet.get(wallet_id)
        of_vendor = self._by_vendor.get(vendor_id)
        if of_wallet is None or of_vendor is None:
            return of_wallet or of_vendor
        return _together(of_vendor, of_wallet, None)


def _together(of_vendor: Caps | None, of_wallet: Caps | None, of_both: Limit | None) -> Caps:
    """All that apply at once: of single amounts the least; each daily sum is its own."""
    amounts = [one.amount_max for one in (of_vendor, of_wallet, of_both) if one is not None]
    return Caps(
        amount_max=min((amount for amount in amounts if amount is not None), default=None),
        wallet_day_max=None if of_wallet is None else of_wallet.wallet_day_max,
        vendor_day_max=None if of_both is None else of_both.day_max,
    )
