"""Routes that tell how far a transfer or a group has come: the vendor's own ones only."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from cell.api.errors import ProblemRaised
from cell.api.reading import Readers, WalletIdInPath
from cell.api.responses import json_response
from cell.api.saga_answers import group_answer_of, transfer_answer_of
from cell.api.tokens import Principal
from cell.ledger.model import TransactionKey
from cell.store.sagas import SagaStore
from contract.answers import GroupAnswer, PostingAnswer
from contract.ids import UUID_PATTERN, TransactionId, WalletId
from contract.problems import Problem
from contract.reasons import Reason

TransactionIdInPath = Annotated[str, Path(pattern=UUID_PATTERN)]


def saga_reads(*, readers: Readers, store: SagaStore) -> APIRouter:
    router = APIRouter()
    Reader = Annotated[Principal, Depends(readers.caller)]  # noqa: N806 - a type

    @router.get(
        "/v1/wallets/{wallet_id}/transfers/{transaction_id}",
        response_model=PostingAnswer,
        summary="A transfer, and whether it has arrived",
    )
    async def show_transfer(
        wallet_id: WalletIdInPath, transaction_id: TransactionIdInPath, principal: Reader
    ) -> Response:
        await readers.wallet(wallet_id, principal)
        key = TransactionKey(WalletId(wallet_id), principal.vendor_id, TransactionId(transaction_id))
        recorded = await store.recorded(key)
        if recorded is None or recorded.kind != "transfer_out" or recorded.reason is not None:
            raise ProblemRaised(_unknown("transfer", transaction_id))
        transfer = await store.transfer(key)
        state = "settled" if transfer is None else transfer.state
        return json_response(transfer_answer_of(recorded, state))

    @router.get(
        "/v1/wallets/{wallet_id}/groups/{transaction_id}",
        response_model=GroupAnswer,
        summary="A group of transfers, and each of its legs",
    )
    async def show_group(wallet_id: WalletIdInPath, transaction_id: TransactionIdInPath, principal: Reader) -> Response:
        await readers.wallet(wallet_id, principal)
        group = await store.group(
            TransactionKey(WalletId(wallet_id), principal.vendor_id, TransactionId(transaction_id))
        )
        if group is None:
            raise ProblemRaised(_unknown("group", transaction_id))
        return json_response(group_answer_of(group))

    return router


def _unknown(what: str, transaction_id: str) -> Problem:
    detail = f"This vendor has no accepted {what} {transaction_id} from this wallet."
    return Problem(reason=Reason.TRANSACTION_MUST_EXIST, detail=detail)
