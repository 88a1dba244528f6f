"""The results of a bulk request, as they come: what each single call would have answered.

Owns their form on the wire and counts them. Knows no queue and no request.
"""

from collections import Counter
from typing import Any

from cell.api.saga_answers import SagaAnswer
from cell.api.translate import posting_of, refusal_of
from cell.ledger.outcomes import Marked, Outcome, Rejected, Replayed
from contract.problems import Problem, problem_document


class Results:
    """`answers` are in the order of `add` and `refuse`."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self.answers: list[dict[str, Any]] = []
        self.accepted: Counter[str] = Counter()
        self.replayed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        if isinstance(outcome, Rejected):
            self.refuse(outcome.problem)
            return
        assert not isinstance(outcome, Marked)  # noqa: S101 - only the platform's own commands are marked
        recorded = outcome.recorded
        is_replay = isinstance(outcome, Replayed)
        if recorded.reason is not None:
            self.refuse(refusal_of(recorded))
        else:
            counted = self.replayed if is_replay else self.accepted
            counted[recorded.kind] += 1
            self.answers.append({"status": 201, "body": posting_of(recorded)})
        if is_replay:
            self.answers[-1]["replayed"] = True

    def refuse(self, problem: Problem) -> None:
        self.refused[problem.code] += 1
        self.answers.append(self._no(problem))

    def replace(self, place: int, answer: SagaAnswer | Problem) -> None:
        """What an outcome has come to meanwhile; whether it is a replay stays."""
        told = self._no(answer) if isinstance(answer, Problem) else {"status": answer.status, "body": answer.body}
        self.answers[place] |= told

    def _no(self, problem: Problem) -> dict[str, Any]:
        return {"status": problem.status, "body": problem_document(problem, request_id=self._request_id)}
