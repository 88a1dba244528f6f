"""Where an answer ends, and whether it is the original's again."""

import pytest

from loadtests.answers import HEAD_MAX_BYTES, AnswerMustBeHttpError, body_of, end_of, is_replay_of, status_of

ORIGINAL = b'HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"seq":1}'
REPLAY = ORIGINAL.replace(b"content-length", b"idempotent-replayed: true\r\ncontent-length")


def test_an_answer_ends_with_its_body_and_not_before() -> None:
    assert [end_of(ORIGINAL[:size]) for size in range(len(ORIGINAL))] == [0] * len(ORIGINAL)
    assert end_of(ORIGINAL) == end_of(ORIGINAL + b"HTTP/1.1 200 OK") == len(ORIGINAL)
    assert (status_of(ORIGINAL), body_of(ORIGINAL)) == (201, b'{"seq":1}')


def test_names_of_headers_may_be_written_in_any_way() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    assert end_of(answer) == len(answer)


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * (HEAD_MAX_BYTES + 1)])
def test_what_has_no_length_is_refused(rubbish: bytes) -> None:
    with pytest.raises(AnswerMustBeHttpError):
        end_of(rubbish)


def test_a_replay_is_the_original_and_says_so() -> None:
    assert is_replay_of(REPLAY, ORIGINAL)


@pytest.mark.parametrize(
    "answer",
    [
        ORIGINAL,
        REPLAY.replace(b'"seq":1', b'"seq":2'),
        REPLAY.replace(b"201 Created", b"422 Unprocessable"),
    ],
    ids=["posted again", "another body", "another status"],
)
def test_anything_else_is_no_replay(answer: bytes) -> None:
    assert not is_replay_of(answer, ORIGINAL)
