"""Problem documents (RFC 9457): the one shape of every "no" on the wire."""

from typing import Any

from contract.reasons import MEANINGS, MEANINGS_ON_READS, Meaning, Reason
from contract.values import value

TYPE_PREFIX = "urn:cellwallet:reason:"


@value
class Problem:
    """A "no" before it is written down: the reason, its qualifier, one sentence, and facts for machines."""

    reason: Reason
    detail: str
    qualifier: str | None = None
    facts: dict[str, Any] | None = None
    is_of_read: bool = False
    """Whether a read says it, of which the same reason may mean another status."""

    @property
    def meaning(self) -> Meaning:
        if self.is_of_read and self.reason in MEANINGS_ON_READS:
            return MEANINGS_ON_READS[self.reason]
        return MEANINGS[self.reason]

    @property
    def status(self) -> int:
        return self.meaning.status

    @property
    def code(self) -> str:
        return self.reason.code(self.qualifier)


def problem_document(problem: Problem, *, request_id: str) -> dict[str, Any]:
    """The JSON document: `{type, title, status, detail, reason, retry, request_id, ...facts}`."""
    meaning = problem.meaning
    return {
        "type": TYPE_PREFIX + problem.code,
        "title": meaning.title,
        "status": meaning.status,
        "detail": problem.detail,
        "reason": problem.code,
        "retry": meaning.retry,
        "request_id": request_id,
        **(problem.facts or {}),
    }
