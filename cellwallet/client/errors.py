"""Failures of calls, classed by who must act: try again later, the caller's code, or the platform's operators.

A refusal (too little money, no such wallet) is no failure: it is returned as `Refused`.
"""

from cellwallet.client.results import Problem


class CallFailedError(Exception):
    """`problem` is the platform's own word, if it spoke; `transaction_id` is the id that was sent."""

    def __init__(self, text: str, *, problem: Problem | None = None, transaction_id: str | None = None) -> None:
        super().__init__(text)
        self.problem = problem
        self.transaction_id = transaction_id


class TryAgainLaterError(CallFailedError):
    """No decision within the deadline. It may have happened: send it again, later, with the SAME transaction_id."""


class CallerMustActError(CallFailedError):
    """The request or its token is wrong; sent again as it is, it fails again."""


class ConflictError(CallerMustActError):
    """The id was used before for something else (409); `problem.reason` names the field that differs."""


class OperatorMustActError(CallFailedError):
    """The platform answered against its own contract, or broke on this request: report `problem.request_id`."""
