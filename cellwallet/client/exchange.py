"""One call from first attempt to result, without doing any of it: a generator that says what to do next.

It yields `Send` (one attempt) and `Pause`, is told what came of it, and returns the result or a refusal. So every rule
of retrying stands here once, for `Client` and `AsyncClient` alike, and is tested without a socket or a clock.

An attempt is repeated, with the same bytes and so the same transaction_id, only where the problem says `same_id` with
status 421, 429, 503 or 504, where a proxy on the way answered 502-504 without a problem document, or where no answer
came. Every call is idempotent by its id, so a request that may have arrived is safe to send again. For the same reason
a caller who waits for money on its way (`Call.is_open`) has the same call sent until it has arrived; when attempts or
time end before that, the answer so far is the result.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from cellwallet.client.calls import Call, Reply
from cellwallet.client.errors import (
    CallerMustActError,
    CallFailedError,
    ConflictError,
    OperatorMustActError,
    TryAgainLaterError,
)
from cellwallet.client.results import Problem, Refused
from contract.answers import ProblemAnswer
from contract.headers import (
    AUTHORIZATION,
    DEADLINE_MAX_MS,
    DEADLINE_MS,
    JSON_TYPE,
    REQUEST_ID,
    RETRY_AFTER,
)
from contract.reasons import Reason
from contract.values import value

T = TypeVar("T")

RETRYABLE_STATUSES = frozenset({421, 429, 503, 504})
PROXY_STATUSES = frozenset({502, 503, 504})
"""What a load balancer answers for itself when nothing behind it did."""
ANSWER_GRACE_S = 0.5
"""An attempt waits this much longer than the deadline it sends, so that the 504 itself can still arrive."""


@value
class Retries:
    """Limits of one call. Waits double from `wait_first_s` to `wait_max_s`, with full jitter; a server's Retry-After
    is a lower bound. The call ends at `deadline_s` even if attempts are left.
    """

    attempts_max: int = 10
    deadline_s: float = 20.0
    attempt_deadline_s: float = 5.0
    wait_first_s: float = 0.05
    wait_max_s: float = 2.0


@value
class Send:
    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: dict[str, str]
    body: bytes | None
    timeout_s: float


@value
class Pause:
    seconds: float


@value
class NoReply:
    """The connection failed or nothing came in time; the request may have arrived."""

    detail: str


Step = Send | Pause
Told = Reply | NoReply | None
Exchange = Generator[Step, Told, T | Refused]


@value
class Again:
    """Why an attempt may be repeated."""

    detail: str
    retry_after_s: float = 0.0
    problem: Problem | None = None


def exchange(
    call: Call[T],
    *,
    token: Callable[[], str],
    retries: Retries,
    monotonic_s: Callable[[], float],
    jitter: Callable[[], float],
) -> Exchange[T]:
    """The steps of `call`; returns its result or a refusal.

    Raises:
        CallFailedError: one of its three kinds, by who must act.

    """
    ends_at_s = monotonic_s() + retries.deadline_s
    attempt = 1
    so_far: T | None = None
    while True:
        left_s = ends_at_s - monotonic_s()
        told = yield _send(call, token(), min(left_s, retries.attempt_deadline_s))
        judged = judge(call, told)
        if not isinstance(judged, Again):
            if isinstance(judged, Refused) or call.is_open is None or not call.is_open(judged):
                return judged
            so_far, judged = judged, Again(detail="not over yet")
        wait_s = judged.retry_after_s + jitter() * backoff_s(retries, attempt)
        if attempt >= retries.attempts_max or monotonic_s() + wait_s >= ends_at_s:
            if so_far is not None:
                return so_far
            raise given_up(call, judged, attempt)
        yield Pause(seconds=wait_s)
        attempt += 1


def _send(call: Call[Any], token: str, deadline_s: float) -> Send:
    deadline_ms = max(1, min(int(deadline_s * 1000), DEADLINE_MAX_MS))
    headers = {AUTHORIZATION: f"Bearer {token}", DEADLINE_MS: str(deadline_ms), "Accept": call.accept or JSON_TYPE}
    if call.body is not None:
        headers["Content-Type"] = JSON_TYPE
    return Send(
        method=call.method,
        path=call.path,
        query=call.query,
        headers=headers,
        body=call.body,
        timeout_s=deadline_ms / 1000 + ANSWER_GRACE_S,
    )


def backoff_s(retries: Retries, attempt: int) -> float:
    return min(retries.wait_max_s, retries.wait_first_s * 2.0 ** (attempt - 1))


def judge(call: Call[T], told: Told) -> T | Refused | Again:
    match told:
        case None:
            raise TypeError("an attempt must be answered with a Reply or NoReply")
        case NoReply(detail=detail):
            return Again(detail=detail)
        case Reply(status=200 | 201 | 202):
            return _result(call, told)
        case _:
            return _judge_problem(call, told)


def _result(call: Call[T], reply: Reply) -> T:
    try:
        return call.read(reply)
    except ValidationError as error:
        raise OperatorMustActError(
            f"{call.method} {call.path}: answer {reply.status} is not what the contract says: {error}",
            transaction_id=call.transaction_id,
        ) from error


def _judge_problem(call: Call[Any], reply: Reply) -> Refused | Again:
    problem = problem_of(reply)
    if problem is None:
        if reply.status in PROXY_STATUSES:
            return Again(detail=f"answer {reply.status} from a proxy", retry_after_s=_retry_after_s(reply))
        raise OperatorMustActError(
            f"{call.method} {call.path}: answer {reply.status} without a problem document, "
            f"request {reply.headers.get(REQUEST_ID.lower(), 'without an id')}",
            transaction_id=call.transaction_id,
        )
    if problem.retry == "same_id" and problem.status in RETRYABLE_STATUSES:
        return Again(detail=f"{problem.reason}: {problem.detail}", retry_after_s=_retry_after_s(reply), problem=problem)
    if is_refusal(problem):
        return Refused(
            reason=problem.reason,
            detail=problem.detail,
            problem=problem,
            transaction_id=call.transaction_id,
            replayed=reply.is_replay,
            cell=reply.cell,
        )
    raise _failure(call, problem)


def is_refusal(problem: Problem) -> bool:
    """A recorded "no", or the absence of what the path names: both are answers and not faults."""
    if problem.status == 404:
        return problem.reason != Reason.ROUTE_MUST_EXIST
    return problem.status == 422 and problem.retry == "new_id"


def _failure(call: Call[Any], problem: Problem) -> CallFailedError:
    kind: type[CallFailedError]
    if problem.status == 409:
        kind = ConflictError
    elif 400 <= problem.status < 500:
        kind = CallerMustActError
    else:
        kind = OperatorMustActError
    text = f"{problem.reason}: {problem.detail} (status {problem.status}, request {problem.request_id})"
    return kind(text, problem=problem, transaction_id=call.transaction_id)


def given_up(call: Call[Any], again: Again, attempts: int) -> TryAgainLaterError:
    return TryAgainLaterError(
        f"{call.method} {call.path}: given up after {attempts} attempt{'s' if attempts > 1 else ''}: {again.detail}",
        problem=again.problem,
        transaction_id=call.transaction_id,
    )


_PROBLEM = TypeAdapter(ProblemAnswer)
_PROBLEM_FIELDS = frozenset(ProblemAnswer.model_fields)
_DOCUMENT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def problem_of(reply: Reply) -> Problem | None:
    """The problem document of an answer, if that is what it carries."""
    try:
        document = _DOCUMENT.validate_json(reply.body)
        read = _PROBLEM.validate_python(document)
    except ValidationError:
        return None
    return Problem(
        status=reply.status,
        reason=read.reason,
        title=read.title,
        detail=read.detail,
        retry=read.retry,
        request_id=read.request_id,
        facts={name: fact for name, fact in document.items() if name not in _PROBLEM_FIELDS},
    )


def _retry_after_s(reply: Reply) -> float:
    """The platform sends seconds; the header's other form, a date, counts as none."""
    text = reply.headers.get(RETRY_AFTER.lower(), "").strip()
    return float(text) if text.isascii() and text.replace(".", "", 1).isdigit() else 0.0
