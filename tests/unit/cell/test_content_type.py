"""Which content types of a body are JSON."""

import pytest

from cell.api.asking import is_json


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON", b"application/json; charset=utf-8", b"application/json ;charset=UTF-8"],
)
def test_json_is_json_however_it_is_written(content_type: bytes) -> None:
    assert is_json(content_type)


@pytest.mark.parametrize(
    "content_type", [b"", b"text/json", b"application/jsonl", b"application/json-patch+json", b"application/json2"]
)
def test_what_only_begins_like_json_is_something_else(content_type: bytes) -> None:
    assert not is_json(content_type)
