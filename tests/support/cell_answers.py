"""What answers of a cell must look like, whatever they say."""

import re
from typing import Any

import httpx
from cell_process import CELL

from contract.headers import PROBLEM_TYPE
from contract.reasons import MEANINGS, Reason

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
HASH = "[0-9a-f]{64}"
NOBODY = "00000000-0000-4000-8000-000000000000"
"""A wallet that nobody has."""


class Like:
    """Equal to every text of a form."""

    def __init__(self, form: str) -> None:
        self._form = form

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._form, other) is not None

    def __hash__(self) -> int:
        return hash(self._form)

    def __repr__(self) -> str:
        return f"Like({self._form})"


def reason_of(answer: httpx.Response) -> str:
    """The code of a problem whose shape was checked."""
    document: dict[str, Any] = answer.json()
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert answer.headers["x-cell"] == CELL
    assert document["status"] == answer.status_code
    assert document["request_id"] == answer.headers["x-request-id"]
    assert document["type"] == f"urn:cellwallet:reason:{document['reason']}"
    assert isinstance(document["title"], str)
    assert isinstance(document["detail"], str)
    reason = next(
        one for one in Reason if document["reason"] == one or document["reason"].startswith(one.partition("{")[0])
    )
    assert (MEANINGS[reason].status, MEANINGS[reason].retry) == (answer.status_code, document["retry"])
    code: str = document["reason"]
    return code


def done(answer: httpx.Response, status: int = 201) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-cell"] == CELL
    assert re.fullmatch(UUID, answer.headers["x-request-id"])
    document: dict[str, Any] = answer.json()
    return document
