"""Asking every cell and the control plane, all at once: audits, units, the directory.

A cell that does not answer is an answer too: `Unreachable`. Judging what comes back is fleet.py's affair.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from cellwallet.auditing.fleet import CellAudit, ClosedCell
from contract.directory import DirectoryDocument
from contract.fleet import CellUnits
from contract.values import value

T = TypeVar("T")

AUDIT_TIMEOUT_S = 3_600.0
"""A full audit reads every entry of the cell."""
QUESTION_TIMEOUT_S = 10.0

_AUDIT = TypeAdapter(CellAudit)
_UNITS = TypeAdapter(CellUnits)


@value
class Unreachable:
    cell: str
    detail: str


class Fleet:
    """The admin APIs of the cells, by name, and the control plane, with an operator's token."""

    def __init__(self, *, admin_urls: Mapping[str, str], control_plane_url: str, token: str) -> None:
        self._admin_urls = admin_urls
        self._control_plane_url = control_plane_url
        self._http = httpx.Client(headers={"Authorization": f"Bearer {token}"}, trust_env=False)

    def audits(self, *, full: bool) -> Iterator[CellAudit | Unreachable]:
        """In the order of completion."""
        return self._every_cell(lambda cell, url: self._audit(cell, url, full=full))

    def units(self) -> Iterator[CellUnits | Unreachable]:
        return self._every_cell(self._units)

    def directory(self) -> DirectoryDocument | None:
        """None when the control plane cannot be reached: the audit then rests on the cells alone."""
        try:
            signed = self._told("/v1/directory")
        except httpx.HTTPError:
            return None
        document = {name: member for name, member in signed.items() if name != "signature"}
        return DirectoryDocument.model_validate(document)

    def closed_cells(self) -> list[ClosedCell] | None:
        """Of every retired cell what its retirement recorded; None when the control plane cannot be reached."""
        try:
            cells = self._told("/v1/cells")["cells"]
            retired = [cell["id"] for cell in cells if cell["state"] == "retired"]
            return [ClosedCell(cell=cell, accounts=self._closing(cell)) for cell in retired]
        except httpx.HTTPError:
            return None

    def _closing(self, cell: str) -> Any:
        """The latest change of a retired cell is its retirement, or nearly so."""
        changes = self._told(f"/v1/changes?subject=cell:{cell}&limit=50")["changes"]
        return next((one["after"]["accounts"] for one in changes if "accounts" in (one["after"] or {})), {})

    def _told(self, path: str) -> Any:
        response = self._http.get(f"{self._control_plane_url}{path}", timeout=QUESTION_TIMEOUT_S)
        return response.raise_for_status().json()

    def close(self) -> None:
        self._http.close()

    def _every_cell(self, ask: Callable[[str, str], T]) -> Iterator[T]:
        with ThreadPoolExecutor(max_workers=max(1, len(self._admin_urls))) as pool:
            asked = [pool.submit(ask, cell, url) for cell, url in self._admin_urls.items()]
            for answer in as_completed(asked):
                yield answer.result()

    def _audit(self, cell: str, url: str, *, full: bool) -> CellAudit | Unreachable:
        timeout = httpx.Timeout(QUESTION_TIMEOUT_S, read=AUDIT_TIMEOUT_S)
        try:
            response = self._http.post(f"{url}/admin/audit", json={"full": full}, timeout=timeout)
            response.raise_for_status()
            return _AUDIT.validate_json(response.content)
        except (httpx.HTTPError, ValidationError) as error:
            return _silent(cell, error)

    def _units(self, cell: str, url: str) -> CellUnits | Unreachable:
        try:
            response = self._http.get(f"{url}/admin/units", timeout=QUESTION_TIMEOUT_S)
            response.raise_for_status()
            return _UNITS.validate_json(response.content)
        except (httpx.HTTPError, ValidationError) as error:
            return _silent(cell, error)


def _silent(cell: str, error: httpx.HTTPError | ValidationError) -> Unreachable:
    """An answer outside the contract tells as little as none."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return Unreachable(cell=cell, detail=f"an answer outside the contract at {first['loc']}: {first['msg']}")
    return Unreachable(cell=cell, detail=f"{type(error).__name__}: {error}")
