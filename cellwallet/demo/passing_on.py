"""Scenes in which money is set aside or passed on: holds, transfers within a cell and between cells, groups, bulk."""

from cellwallet.client import Posting, Refused, accepted, calls
from cellwallet.demo.stage import CURRENCY, Scene, Stage, expected, money, must, wait_until

DEPOSIT = 30_000
EXPIRES_IN_S = 1
POINTS = 100
SHARE = 2_000


def hotel(stage: Stage) -> Scene:
    client, wallet_id = stage.client, stage.anna.wallet_id
    held = stage.post(client.place_hold(wallet_id, amount=DEPOSIT, currency=CURRENCY, description="hotel"))
    hold_id = str(held.hold_id)
    must(held.held == DEPOSIT and held.delta == 0, "a hold sets money aside and takes none")
    room = stage.post(client.capture(wallet_id, hold_id, amount=18_000, final=False))
    minibar = stage.post(client.capture(wallet_id, hold_id, amount=2_500))
    must((minibar.held, accepted(client.hold(wallet_id, hold_id)).state) == (0, "captured"), "the rest is free again")
    left = DEPOSIT - room.amount - minibar.amount
    return Scene(
        title="A hotel",
        lines=(
            f"{money(DEPOSIT)} of Anna's are held: {money(room.amount)} are captured for the room, in a second part",
            f"{money(minibar.amount)} for the minibar. That one is final: the other {money(left)} are available again.",
        ),
    )


def parking(stage: Stage) -> Scene:
    client, wallet_id = stage.client, stage.bruno.wallet_id
    held = accepted(client.place_hold(wallet_id, amount=5_000, currency=CURRENCY, expires_in_s=EXPIRES_IN_S))

    def freed() -> bool | None:
        return accepted(client.wallet(wallet_id)).held == 0 or None

    wait_until(freed, "a hold that nobody captures expires")
    late = client.capture(wallet_id, str(held.hold_id))
    must(isinstance(late, Refused) and late.reason == "hold_must_be_open", "an expired hold cannot be captured")
    return Scene(
        title="A forgotten car park",
        lines=(
            f"{money(held.amount)} of Bruno's are held for {EXPIRES_IN_S} s, nobody captures them: they are his again.",
            "A capture that comes too late is refused: hold_must_be_open.",
        ),
    )


def pocket_money(stage: Stage) -> Scene:
    giver, taker = expected(stage.neighbours(), tuple, "two customers live in one cell")
    before = stage.balance(taker)
    sent = stage.post(
        stage.client.transfer(giver.wallet_id, to_wallet_id=taker.wallet_id, amount=2_500, currency=CURRENCY)
    )
    must((sent.state, stage.balance(taker) - before) == ("settled", 2_500), "a transfer within a cell arrives at once")
    return Scene(
        title="Pocket money",
        lines=(f"{money(sent.amount)} go from wallet to wallet in {giver.cell}, in one transaction: {sent.state}.",),
    )


def abroad(stage: Stage) -> Scene:
    cast = stage.one_of_each_cell()
    title = "To another cell"
    if len(cast) == 1:
        return Scene(title=title, lines=("All wallets of the day are in one cell: there is no other.",))
    giver, taker = cast[:2]
    before = stage.balance(taker)
    sent = stage.post(
        stage.client.transfer(giver.wallet_id, to_wallet_id=taker.wallet_id, amount=4_200, currency=CURRENCY, wait=True)
    )
    must((sent.state, stage.balance(taker) - before) == ("settled", 4_200), "a transfer between cells arrives")
    told = accepted(stage.client.transfer_status(giver.wallet_id, sent.transaction_id))
    must(told.state == "settled", "the transfer can be asked for")
    return Scene(
        title=title,
        lines=(
            f"{money(sent.amount)} go from {giver.cell} to {taker.cell}: debited there, credited here, {sent.state}.",
            "Whichever process dies on the way, the money arrives once, or comes back once.",
        ),
    )


def shared_bill(stage: Stage) -> Scene:
    spread = stage.one_of_each_cell()
    payers = spread if len(spread) > 1 else stage.customers[:2]
    anchor = payers[0].wallet_id
    bill = {payer.wallet_id: -SHARE for payer in payers} | {stage.shop.wallet_id: SHARE * len(payers)}
    before = stage.balance(stage.shop)
    paid = accepted(stage.client.group(anchor, legs=bill, currency=CURRENCY, description="dinner", wait=True))
    must(paid.state == "confirmed", f"the bill is paid by all, not {paid.state}")

    def everybody_knows() -> bool | None:
        return accepted(stage.client.group_status(anchor, paid.transaction_id)).is_finished or None

    wait_until(everybody_knows, "every leg follows the decision")
    must(stage.balance(stage.shop) - before == SHARE * len(payers), "the shop has the whole bill")
    too_much = {anchor: -1, payers[-1].wallet_id: -10_000_000, stage.shop.wallet_id: 10_000_001}
    unpaid = expected(
        stage.client.group(anchor, legs=too_much, currency=CURRENCY, wait=True), Refused, "all legs or none"
    )
    must(unpaid.leg is not None and unpaid.leg.wallet_id == payers[-1].wallet_id, "the refusal names the leg")
    must(stage.balance(stage.shop) - before == SHARE * len(payers), "of a refused group nothing happens")
    cells = len({wallet.cell for wallet in [*payers, stage.shop]})
    return Scene(
        title="A shared bill",
        lines=(
            f"{len(payers)} guests of {cells} cells pay {money(SHARE)} each to the shop, all or none: {paid.state}.",
            f"A second one is more than one of them has: {unpaid.reason}, and nobody has paid.",
        ),
    )


def bonus(stage: Stage) -> Scene:
    bonuses = [
        calls.credit(customer.wallet_id, amount=POINTS, currency=CURRENCY, description="bonus")
        for customer in stage.customers
    ]
    beyond = calls.debit(stage.shop.wallet_id, amount=10_000_000, currency=CURRENCY)
    outcomes = stage.client.bulk([*bonuses, beyond])
    for outcome in outcomes[:-1]:
        stage.post(expected(outcome, Posting, "every bonus is credited"))
    refused = expected(outcomes[-1], Refused, "each operation of a bulk is decided for itself")
    return Scene(
        title="A bonus for everybody",
        lines=(
            f"{len(outcomes)} operations in one request: {len(bonuses)} bonuses of {money(POINTS)} are credited;",
            f"one debit beyond the balance is refused for itself: {refused.reason}.",
        ),
    )
