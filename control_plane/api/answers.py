"""How routes describe their answers in the OpenAPI document: a body for success, a problem for every "no"."""

from typing import Any

from pydantic import BaseModel

from contract.answers import ProblemAnswer
from contract.headers import PROBLEM_TYPE

_ALWAYS = (413, 415, 500)


def described(success: type[BaseModel], *refusals: int, unchanged: bool = False) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route; `unchanged` adds 304."""
    answers: dict[int | str, dict[str, Any]] = {200: {"model": success}}
    if unchanged:
        answers[304] = {"description": "Nothing newer than `If-None-Match` names"}
    return answers | refused(*refusals)


def refused(*refusals: int) -> dict[int | str, dict[str, Any]]:
    """Only the refusals, for a route whose success is no JSON."""
    content = {PROBLEM_TYPE: {"schema": ProblemAnswer.model_json_schema()}}
    return {
        status: {"description": "Refused, see `reason`", "content": content} for status in sorted({*refusals, *_ALWAYS})
    }
