"""What must hold over cells between which units were moved: what a cell owns counts, and what it gave away does not."""

from collections import Counter
from collections.abc import Iterable
from typing import LiteralString

import psycopg

from loadtests.checks import Posted, compared_with
from loadtests.figures import Check
from loadtests.load import Tally

BALANCE_OF_OWNED: LiteralString = """
SELECT currency, sum(amount)::bigint FROM (
    SELECT w.currency, w.balance AS amount FROM wallets w JOIN unit_state u ON u.unit = w.unit AND u.state = 'active'
    UNION ALL SELECT currency, delta FROM account_deltas
) AS everything GROUP BY currency HAVING sum(amount) <> 0
"""

MIGRATED: LiteralString = """
SELECT currency, sum(delta)::bigint FROM account_deltas WHERE account = 'migrated' GROUP BY currency
"""

RECORDED: LiteralString = """
SELECT count(*), count(*) FILTER (WHERE t.reason IS NULL), coalesce(sum(t.delta), 0)::bigint
FROM wallets w JOIN unit_state u ON u.unit = w.unit AND u.state = 'active' JOIN transactions t USING (wallet_id)
WHERE t.vendor_id = %s
"""

ENTERED: LiteralString = """
SELECT count(*), coalesce(sum(e.amount), 0)::bigint
FROM wallets w JOIN unit_state u ON u.unit = w.unit AND u.state = 'active' JOIN entries e USING (wallet_id)
WHERE e.vendor_id = %s
"""


def check_fleet_conservation(database_urls: Iterable[str]) -> Check:
    """Owned wallets and accounts are nothing in each cell, and what left one cell came to another."""
    broken: list[str] = []
    migrated: Counter[str] = Counter()
    for number, url in enumerate(database_urls, start=1):
        with psycopg.connect(url) as connection:
            for currency, off in connection.execute(BALANCE_OF_OWNED).fetchall():
                broken.append(f"cell {number}: {currency} off by {off}")
            migrated.update(dict(connection.execute(MIGRATED).fetchall()))
    broken += [f"migrated: {currency} off by {off}" for currency, off in migrated.items() if off]
    return Check(name="conservation in each cell and over both", has_passed=not broken, detail="; ".join(broken))


def check_fleet_postings(database_urls: Iterable[str], *, vendor: str, tally: Tally) -> tuple[Check, ...]:
    """All that a vendor ever posted, wherever it is owned now, against what its sender saw."""
    recorded = accepted = delta = entered = entered_delta = 0
    for url in database_urls:
        with psycopg.connect(url) as connection:
            outcomes = connection.execute(RECORDED, [vendor]).fetchone() or (0, 0, 0)
            entries = connection.execute(ENTERED, [vendor]).fetchone() or (0, 0)
        recorded, accepted, delta = recorded + outcomes[0], accepted + outcomes[1], delta + outcomes[2]
        entered, entered_delta = entered + entries[0], entered_delta + entries[1]
    return compared_with(
        Posted(recorded=recorded, accepted=accepted, delta=delta, entered=entered, entered_delta=entered_delta), tally
    )
