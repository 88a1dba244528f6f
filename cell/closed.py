"""Closing and opening a cell: quarantine by order, its present state, and the audit without which nobody opens it."""

from pathlib import Path
from typing import Any, Final

import psycopg

from cell.ledger.restored import Suspicion
from cell.ports import StoreLostError
from cell.store.audit import AuditReport, audit
from cell.store.own_connection import OwnConnection
from cell.store.restored import Episode, anybody, begin, end, latest
from cell.store.restored_units import RestoredUnits
from cell.vouching import DatabaseMustAnswerError, PromotionDoubtedError, vouch
from contract.quarantine import Adjudication, Evidence, Opened, PromotionRecorded, QuarantineNow
from contract.signing import PublicKeys

CONNECT_TIMEOUT_S: Final = 3


class OpeningRefusedError(Exception):
    """Something must be done before the cell may serve again."""

    def __init__(self, reason: str, detail: str, **facts: Any) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.facts = facts


class ClosedCell:
    def __init__(
        self,
        database_url: str,
        *,
        cell_id: str,
        checkpoint_keys: PublicKeys,
        state_dir: Path,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
    ) -> None:
        self._database_url = database_url
        self._state_dir = state_dir
        self._connect_timeout_s = connect_timeout_s
        self._cell_id = cell_id
        self._checkpoint_keys = checkpoint_keys
        self._connection = OwnConnection(database_url, name="cell-quarantine", admit=anybody)
        self._units = RestoredUnits(database_url, cell_id=cell_id)

    async def close(self) -> None:
        await self._connection.close()
        await self._units.close()

    async def now(self) -> QuarantineNow:
        """Raises StoreLostError."""
        return self._told(await self._latest())

    async def quarantine(self, detail: str) -> QuarantineNow:
        """From now on, for every process of the cell. Raises StoreLostError."""
        try:
            async with self._connection.taken() as connection:
                await begin(connection, Suspicion(cause="ordered", detail=detail))
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error
        return await self.now()

    async def adjudicate(self, evidence: Evidence) -> Adjudication:
        """Raises CellMustBeQuarantinedError, StoreLostError."""
        return await self._units.adjudicate(evidence)

    async def open(self, *, opener: str, without_missing: bool) -> Opened:
        """After a full audit without a finding; by an operator, whose name is kept.

        Raises:
            OpeningRefusedError: the cell is open, was not adjudicated, or must be looked at by a person.
            StoreLostError: the database cannot be reached.

        """
        adjudication = _must_be_adjudicated(await self._latest())
        _must_be_decided(adjudication, without_missing=without_missing)
        report = await self._audited()
        try:
            async with self._connection.taken() as connection:
                is_ended = await end(connection, opener=opener)
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error
        if not is_ended:
            raise OpeningRefusedError("cell_must_be_quarantined", "The cell was opened meanwhile.")
        return Opened(
            cell=self._cell_id,
            kept=adjudication.kept,
            missing=len(adjudication.of("missing")),
            audited=report.checked,
        )

    async def record_promotion(self) -> PromotionRecorded:
        """By what this process remembers.

        Raises:
            OpeningRefusedError: it remembers too little, the database lacks something, or the cell is closed besides.
            StoreLostError: the database cannot be reached, or is no primary yet.

        """
        try:
            vouched = await vouch(
                self._database_url, state_dir=self._state_dir, connect_timeout_s=self._connect_timeout_s
            )
        except DatabaseMustAnswerError as error:
            raise StoreLostError(str(error)) from error
        except PromotionDoubtedError as error:
            raise OpeningRefusedError("promotion_must_be_remembered", str(error)) from error
        return PromotionRecorded(cell=self._cell_id, timeline=vouched.timeline, is_new=vouched.is_new)

    async def _latest(self) -> Episode | None:
        try:
            async with self._connection.taken() as connection:
                return await latest(connection)
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error

    async def _audited(self) -> AuditReport:
        try:
            report = await audit(
                self._database_url, cell=self._cell_id, is_full=True, checkpoint_keys=self._checkpoint_keys
            )
        except psycopg.Error as error:
            raise StoreLostError(str(error).strip()) from error
        if not report.is_clean:
            raise OpeningRefusedError(
                "ledger_must_be_whole",
                f"The audit has {len(report.findings)} findings; the first is {report.findings[0]}.",
            )
        return report

    def _told(self, episode: Episode | None) -> QuarantineNow:
        if episode is None:
            return QuarantineNow(cell=self._cell_id, is_quarantined=False)
        return QuarantineNow(
            cell=self._cell_id,
            is_quarantined=not episode.is_open,
            cause=episode.cause,
            detail=episode.detail,
            began_at=episode.began_at.isoformat(),
            adjudication=_adjudication_of(episode),
            opened_at=None if episode.opened_at is None else episode.opened_at.isoformat(),
            opened_by=episode.opened_by,
        )


def _adjudication_of(episode: Episode) -> Adjudication | None:
    return None if episode.adjudication is None else Adjudication.model_validate(episode.adjudication)


def _must_be_adjudicated(episode: Episode | None) -> Adjudication:
    if episode is None or episode.is_open:
        raise OpeningRefusedError("cell_must_be_quarantined", "The cell is open.")
    adjudication = _adjudication_of(episode)
    if adjudication is None:
        raise OpeningRefusedError("units_must_be_adjudicated", "Nobody has said yet which units are elsewhere.")
    return adjudication


def _must_be_decided(adjudication: Adjudication, *, without_missing: bool) -> None:
    contradicted = adjudication.of("contradicted")
    if contradicted:
        shown = ", ".join(f"unit {one.unit}: {one.detail}" for one in contradicted[:5])
        raise OpeningRefusedError("claims_must_agree", f"{len(contradicted)} units cannot be decided: {shown}.")
    missing = adjudication.of("missing")
    if missing and not without_missing:
        shown = ", ".join(f"unit {one.unit} from {one.cell or 'nobody'}" for one in missing[:5])
        raise OpeningRefusedError(
            "units_must_not_be_missing",
            f"{len(missing)} units came here after the backup and are not in it: {shown}.",
            units=[one.unit for one in missing[:100]],
        )
