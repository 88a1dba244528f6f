"""The scene of a daily limit: set by an operator on a wallet of this day, felt, and lifted again."""

from cellwallet.client import Refused
from cellwallet.demo.operations import Operations
from cellwallet.demo.stage import CURRENCY, Scene, Stage, money, must, wait_until

DAY_MAX = 1_000
SWEETS = 300
TITLE = "A daily limit"


def daily_limit(stage: Stage, operations: Operations | None) -> Scene:
    if operations is None:
        return Scene(title=TITLE, lines=("Limits are set by operators, and there is no operator's token here.",))
    child = stage.customers[2].wallet_id

    def buy() -> Refused | None:
        outcome = stage.client.debit(child, amount=SWEETS, currency=CURRENCY, description="sweets")
        if isinstance(outcome, Refused):
            return outcome
        stage.post(outcome)
        return None

    def buy_again() -> bool | None:
        return buy() is None or None

    try:
        operations.limit_day(child, DAY_MAX)
        refused = wait_until(buy, "a daily limit reaches the cells")
        must(refused.reason == "amount_must_not_exceed_limit", f"the limit is the reason, not {refused.reason}")
    finally:
        operations.limit_day(child, None)
    wait_until(buy_again, "a limit that is lifted lets money go again")
    return Scene(
        title=TITLE,
        lines=(
            f"Clara may spend {money(DAY_MAX)} a day: sweets for {money(SWEETS)} go well until {refused.reason}.",
            "The limit is lifted, and the next sweets are hers.",
        ),
    )
