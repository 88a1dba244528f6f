"""What pydantic finds wrong with settings, in words that say where and what must hold. Pure."""

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


def refusals(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """A line for each place; what is misspelt is compared with everything that the model knows."""
    known = sorted(set(_names(model)))
    return [_refusal(one, known) for one in error.errors()]


def _refusal(error: ErrorDetails, known: list[str]) -> str:
    place = ".".join(str(part) for part in _path(error["loc"]))
    match error["type"]:
        case "extra_forbidden":
            return f"{place} is no setting{_meant(str(error['loc'][-1]), known)}"
        case "missing":
            return f"{place} must be given"
        case "value_error":
            return f"{place} {error['ctx']['error']}".strip()
        case _:
            told = error["msg"].replace("Input should", "must").replace("tuple", "list")
            return f"{place} {told}, not {error['input']!r}"


def _path(location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Without the tag that pydantic puts after a choice of substrates."""
    for before, part in zip(("", *location), location, strict=False):
        if not (before == "substrate" and part in {"kubeconfig", "eks"}):
            yield part


def _meant(name: str, known: list[str]) -> str:
    found = difflib.get_close_matches(name, known, n=1)
    return f"; is {found[0]} meant?" if found else ""


def _names(annotation: Any) -> Iterator[str]:
    """Of the fields of a model and of the models in them, however they are wrapped."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from _names(field.annotation)
    for part in get_args(annotation):
        yield from _names(part)
