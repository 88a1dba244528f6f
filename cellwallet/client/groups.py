"""Groups: transfers over two wallets or many, in whatever cells, that happen all or not at all. Values and calls."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from cellwallet.client.calls import Call, Metadata, Reply, command_call, wallet_path
from contract.values import value

GroupState = Literal["preparing", "confirmed", "cancelled"]
LegState = Literal["asked", "prepared", "refused", "confirmed", "cancelled"]


@value
class Leg:
    """`amount` is what the wallet's balance changes by; `reason` is why it was refused."""

    wallet_id: str
    amount: int
    state: LegState
    reason: str | None


@value
class Group:
    """What was decided is `state`, for ever; `is_finished` once every leg has followed the decision."""

    transaction_id: str
    wallet_id: str
    currency: str
    state: GroupState
    is_finished: bool
    started_at: datetime
    legs: tuple[Leg, ...]
    replayed: bool = False
    cell: str | None = None


def group(
    wallet_id: str,
    *,
    legs: Mapping[str, int],
    currency: str,
    description: str | None = None,
    metadata: Metadata | None = None,
    transaction_id: str | None = None,
    wait: bool = False,
) -> Call[Group]:
    """Change the balances of several wallets, by their ids, all or none; the amounts add up to zero.

    `wallet_id` is the anchor: one of the wallets, whose cell decides. A refusal tells the refused `leg`. The group may
    be `preparing` still: it will be decided without anybody asking. With `wait` the same call is sent again meanwhile,
    as long as retries allow.
    """
    fields = {
        "currency": currency,
        "legs": [{"wallet_id": leg_id, "amount": amount} for leg_id, amount in legs.items()],
        "description": description,
        "metadata": metadata,
    }
    call = command_call("POST", wallet_path(wallet_id, "groups"), fields, transaction_id, _read_group)
    return dataclasses.replace(call, is_open=_is_preparing) if wait else call


def group_status(wallet_id: str, transaction_id: str) -> Call[Group]:
    """What was decided of this vendor's group at its anchor, and how far each leg has come."""
    return Call(method="GET", path=wallet_path(wallet_id, "groups", transaction_id), read=_read_group)


_GROUP = TypeAdapter(Group)


def _read_group(reply: Reply) -> Group:
    read = _GROUP.validate_json(reply.body)
    return dataclasses.replace(read, replayed=reply.is_replay, cell=reply.cell)


def _is_preparing(answered: Group) -> bool:
    return answered.state == "preparing"
