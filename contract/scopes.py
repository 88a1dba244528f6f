"""Scopes of tokens: what a vendor, an operator or a cell may do."""

from enum import StrEnum


class Scope(StrEnum):
    WALLET_OPEN = "wallet:open"
    WALLET_READ = "wallet:read"
    WALLET_MANAGE = "wallet:manage"
    MONEY_DEBIT = "money:debit"
    MONEY_CREDIT = "money:credit"
    MONEY_REVERSE = "money:reverse"
    MONEY_REVERSE_ANY = "money:reverse_any"
    MONEY_HOLD = "money:hold"
    MONEY_TRANSFER = "money:transfer"
    WEBHOOK_MANAGE = "webhook:manage"
    FLEET_READ = "fleet:read"
    FLEET_MANAGE = "fleet:manage"
    CELL_TRANSFER = "cell:transfer"
    CELL_JOIN = "cell:join"

    @property
    def action(self) -> str:
        """The word of the refusal `scope_must_allow_{action}`."""
        return self.value.partition(":")[2]


VENDOR_SCOPES = tuple(scope for scope in Scope if scope.value.startswith(("wallet:", "money:", "webhook:")))
OPERATOR_SCOPES = (Scope.FLEET_READ, Scope.FLEET_MANAGE)

AUDIENCE = "cellwallet"
ALGORITHMS = ("EdDSA", "ES256")
