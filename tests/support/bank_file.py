"""Movements of a bank that never was, in the shape of the real file; and where the real one may lie."""

import random
from pathlib import Path

from cellwallet.replaying.movements import COLUMNS

REAL_FILE = Path(__file__).parents[3] / "shared" / "data" / "bank_1993_1994.csv.gz"
OPERATIONS = {
    "credit": ("cash_deposit", "transfer_from_bank", "internal"),
    "debit": ("cash_withdrawal", "transfer_to_bank", "card_withdrawal"),
}
PURPOSES = ("", "interest", "statement_fee", "household", "insurance", "pension", "loan")


def bank_rows(name: str, *, accounts: int, movements: int, seed: int = 7) -> list[list[str]]:
    """So many movements of each account, day after day; balances start at zero and some fall below it."""
    chance = random.Random(seed)
    balances = dict.fromkeys(range(accounts), 0)
    rows = []
    for order in range(movements):
        for account in balances:
            kind = chance.choice(("credit", "credit", "debit"))
            amount = chance.randint(1, 500_000)
            balances[account] += amount if kind == "credit" else -amount
            partner = ("AB", str(chance.randint(1, 99_999_999))) if chance.random() < 0.2 else ("", "")
            rows.append(
                [
                    f"1993-{1 + order // 28 % 12:02d}-{1 + order % 28:02d}",
                    f"{name}-{account}",
                    str(order),
                    f"{name}-{account}-{order}",
                    kind,
                    str(amount),
                    str(balances[account]),
                    chance.choice(OPERATIONS[kind]),
                    chance.choice(PURPOSES),
                    *partner,
                ]
            )
    return rows


def write_bank_file(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in [list(COLUMNS), *rows]))
    return path
