"""Scenes for whoever does not take the platform's word: the past, a statement, whole histories, a signed checkpoint."""

from datetime import datetime

from cellwallet.client import Refused, accepted
from cellwallet.client.bundles import verified_proof
from cellwallet.client.history import Signed, Verified, verify_history
from cellwallet.demo.operations import Operations
from cellwallet.demo.stage import SALARY, Scene, Stage, expected, money, must
from contract.checkpoints import Proof
from contract.reasons import Reason
from contract.signing import PublicKeys, public_keys_of

LINES_SHOWN = 5


def looking_back(stage: Stage, moment: datetime) -> Scene:
    then = accepted(stage.client.balance(stage.anna.wallet_id, at=moment))
    must(then.balance == SALARY, "before the first coffee there was a whole salary")
    return Scene(
        title="Looking back",
        lines=(
            f"At {moment:%H:%M:%S.%f}, before the first coffee, Anna had {money(then.balance)}.",
            f"Now she has {money(stage.balance(stage.anna))}. Every past instant can be asked for.",
        ),
    )


def statement(stage: Stage) -> Scene:
    told = accepted(stage.client.statement(stage.bruno.wallet_id))
    changes = sum(line.delta for line in told.lines)
    must(told.opening_balance + changes == told.closing_balance, "opening balance and lines give the closing balance")
    lines = (
        f"{line.seq:>5}  {line.kind:<12}{money(line.delta):>15}{money(line.balance_after):>17} {line.description or ''}"
        for line in told.lines[-LINES_SHOWN:]
    )
    ends = f"opening {money(told.opening_balance)}, {len(told.lines)} lines, closing {money(told.closing_balance)}"
    return Scene(title="Bruno's statement", lines=(*(line.rstrip() for line in lines), ends))


def histories(stage: Stage) -> Scene:
    for wallet in stage.wallets:
        present = accepted(stage.client.wallet(wallet.wallet_id))
        verdict = verify_history(present, stage.client.entries(wallet.wallet_id, order="asc"))
        stage.entries += expected(verdict, Verified, f"the history of wallet {wallet.wallet_id} is whole").entries
    return Scene(
        title="Trust, but verify",
        lines=(
            f"{stage.entries} entries of {len(stage.wallets)} wallets are read over HTTP.",
            "Every number, sum and hash is computed again: the histories are whole.",
        ),
    )


def signature(stage: Stage, operations: Operations | None) -> Scene:
    title, anna = "What the cell has signed", stage.anna
    if operations is not None:
        operations.take_checkpoint(str(anna.cell))
    answer = stage.client.proof(anna.wallet_id)
    if isinstance(answer, Refused) and answer.reason == Reason.CHECKPOINT_MUST_EXIST.value:
        return Scene(title=title, lines=("Cells sign all their wallets every five minutes: Anna's is not in yet.",))
    keys, source = _trusted(stage, operations)
    proof = expected(
        verified_proof(anna.wallet_id, accepted(answer), keys), Proof, "the proof leads to a root that the cell signed"
    )
    present = accepted(stage.client.wallet(anna.wallet_id))
    verdict = expected(
        verify_history(present, stage.client.entries(anna.wallet_id, order="asc"), proof),
        Verified,
        "Anna's history passes through what was signed",
    )
    signed = expected(verdict.checkpoint, Signed, "the history was held to a checkpoint")
    return Scene(
        title=title,
        lines=(
            f"Checkpoint {signed.number} of {signed.cell} has Anna's wallet up to entry {signed.seq}, among those of",
            f"{proof.checkpoint.wallets} wallets: a path of length {len(proof.path)} leads to the signed root.",
            f"The signature fits the cell's public key, as {source} tells it, and the history passes through it.",
        ),
    )


def _trusted(stage: Stage, operations: Operations | None) -> tuple[PublicKeys, str]:
    if operations is not None:
        return operations.key_of(str(stage.anna.cell)), "the control plane"
    return public_keys_of(accepted(stage.client.keys())), "the platform (trust on first use)"
