"""The life of a wallet as a table; the diagram in docs/ is printed from it."""

from cell.ledger.model import Status

TRANSITIONS: dict[Status, frozenset[Status]] = {
    "active": frozenset({"active", "suspended", "closed"}),
    "suspended": frozenset({"suspended", "active", "closed"}),
    "closed": frozenset(),
}
"""From a status to those that a vendor may ask for; a closed wallet stays closed."""
