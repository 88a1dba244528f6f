"""The ends of HTTP answers, found as cheaply as possible: the cells always send Content-Length. Pure."""

from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length: "
_REPLAYED: Final = b"idempotent-replayed: true\r\n"
_STATUS = slice(9, 12)
HEAD_MAX_BYTES: Final = 16_384


class AnswerMustBeHttpError(Exception):
    """The peer speaks something else."""


def end_of(received: bytes) -> int:
    """Where the answer at the start of `received` ends; 0 = it is not all there yet.

    Raises:
        AnswerMustBeHttpError: no head, or a head without a length.

    """
    head_end = received.find(_HEAD_END)
    if head_end < 0:
        if len(received) > HEAD_MAX_BYTES:
            raise AnswerMustBeHttpError(f"no head within {HEAD_MAX_BYTES} bytes")
        return 0
    at = received.find(_LENGTH, 0, head_end)
    if at < 0 and (at := received[:head_end].lower().find(_LENGTH)) < 0:
        raise AnswerMustBeHttpError(f"no length in {received[:head_end]!r}")
    at += len(_LENGTH)
    end = head_end + 4 + int(received[at : received.index(b"\r", at)])
    return end if len(received) >= end else 0


def status_of(answer: bytes) -> int:
    return int(answer[_STATUS])


def body_of(answer: bytes) -> bytes:
    return answer[answer.index(_HEAD_END) + 4 :]


def is_replay_of(answer: bytes, original: bytes) -> bool:
    """The same status and body, and marked as a replay."""
    return answer[_STATUS] == original[_STATUS] and body_of(answer) == body_of(original) and _REPLAYED in answer
