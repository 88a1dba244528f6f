"""How many vendors are at work when: a list of stages without holes. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.values import value

USERS_MAX = 2_000
DURATION_MAX_S = 3_600
"""Loads are for the machine that they are made on, and end."""


class ShapeMustBeWholeError(ValueError):
    """The shape cannot be played; the message says what must hold."""


@value
class Stage:
    """Until `ends_s`, `users` vendors; `start_rate_per_s` of them begin or end per second."""

    ends_s: float
    users: int
    start_rate_per_s: float
    loses_a_cell: bool = False
    """At its beginning the database of one cell is killed."""


@value
class Shape:
    name: str
    stages: tuple[Stage, ...]

    @property
    def duration_s(self) -> float:
        return self.stages[-1].ends_s

    def stage_at(self, elapsed_s: float) -> Stage | None:
        """None = it is over."""
        return next((stage for stage in self.stages if elapsed_s < stage.ends_s), None)


def named(name: str, *, users: int, duration_s: float) -> Shape:
    """One of the shapes that everybody needs.

    Raises:
        ShapeMustBeWholeError: there is no such shape, or its figures are out of bounds.

    """
    makers = {"steady": _steady, "ramp": _ramp, "spike": _spike, "lose-a-cell": _lose_a_cell}
    if name not in makers:
        raise ShapeMustBeWholeError(f"a shape must be one of {', '.join(makers)}, or a file")
    return _whole(name, makers[name](users, duration_s))


def _steady(users: int, duration_s: float) -> list[Stage]:
    return [Stage(ends_s=duration_s, users=users, start_rate_per_s=max(users / 5, 1))]


def _ramp(users: int, duration_s: float) -> list[Stage]:
    steps = 5
    return [
        Stage(ends_s=duration_s * step / steps, users=max(1, users * step // steps), start_rate_per_s=max(users / 5, 1))
        for step in range(1, steps + 1)
    ]


def _spike(users: int, duration_s: float) -> list[Stage]:
    calm = max(1, users // 5)
    return [
        Stage(ends_s=duration_s * 0.4, users=calm, start_rate_per_s=max(calm, 1)),
        Stage(ends_s=duration_s * 0.6, users=users, start_rate_per_s=max(users, 1)),
        Stage(ends_s=duration_s, users=calm, start_rate_per_s=max(users, 1)),
    ]


def _lose_a_cell(users: int, duration_s: float) -> list[Stage]:
    rate = max(users / 5, 1)
    return [
        Stage(ends_s=duration_s * 0.4, users=users, start_rate_per_s=rate),
        Stage(ends_s=duration_s, users=users, start_rate_per_s=rate, loses_a_cell=True),
    ]


class _StageBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    starts_s: float = Field(ge=0)
    ends_s: float = Field(gt=0)
    users: int = Field(ge=1, le=USERS_MAX)
    start_rate_per_s: float = Field(gt=0)
    loses_a_cell: bool = False


class _ShapeBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    stages: list[_StageBody] = Field(min_length=1, max_length=100)


def parsed(text: str) -> Shape:
    """A shape from a JSON file: `{name, stages: [{starts_s, ends_s, users, start_rate_per_s, loses_a_cell?}]}`.

    Raises:
        ShapeMustBeWholeError: it is no such document, or its stages leave a hole or overlap.

    """
    try:
        body = _ShapeBody.model_validate_json(text)
    except ValidationError as error:
        raise ShapeMustBeWholeError(_told(error.errors(include_url=False)[0])) from error
    previous_s = 0.0
    for number, stage in enumerate(body.stages, start=1):
        if stage.starts_s != previous_s:
            raise ShapeMustBeWholeError(f"stage {number} must start at {previous_s:g} s, where the one before ends")
        previous_s = stage.ends_s
    stages = [Stage(**stage.model_dump(exclude={"starts_s"})) for stage in body.stages]
    return _whole(body.name, stages)


def as_json(shape: Shape) -> str:
    """The text that `parsed` reads."""
    starts_s = [0.0, *(stage.ends_s for stage in shape.stages)]
    stages = [
        {
            "starts_s": start_s,
            "ends_s": stage.ends_s,
            "users": stage.users,
            "start_rate_per_s": stage.start_rate_per_s,
            "loses_a_cell": stage.loses_a_cell,
        }
        for start_s, stage in zip(starts_s, shape.stages, strict=False)
    ]
    return json.dumps({"name": shape.name, "stages": stages})


def _whole(name: str, stages: list[Stage]) -> Shape:
    previous_s = 0.0
    for number, stage in enumerate(stages, start=1):
        if stage.ends_s <= previous_s:
            raise ShapeMustBeWholeError(f"stage {number} must end after it starts")
        if not 1 <= stage.users <= USERS_MAX:
            raise ShapeMustBeWholeError(f"stage {number} must have 1 to {USERS_MAX} users")
        previous_s = stage.ends_s
    if previous_s > DURATION_MAX_S:
        raise ShapeMustBeWholeError(f"a shape must end within {DURATION_MAX_S} s")
    return Shape(name=name, stages=tuple(stages))


def _told(error: Mapping[str, Any]) -> str:
    place = "/".join(map(str, error["loc"])) or "the shape"
    return f"{place}: {error['msg']}"
