"""Shapes of a load: whole, bounded, and written as they are read."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.journeys.shapes import ShapeMustBeWholeError, as_json, named, parsed

STAGE: dict[str, Any] = {"starts_s": 0.0, "ends_s": 10.0, "users": 5, "start_rate_per_s": 1.0}


@pytest.mark.parametrize("name", ["steady", "ramp", "spike", "lose-a-cell"])
@given(users=st.integers(1, 2_000), duration_s=st.floats(1, 3_600))
def test_named_shapes_end_when_they_shall_and_read_as_they_are_written(
    name: str, users: int, duration_s: float
) -> None:
    shape = named(name, users=users, duration_s=duration_s)
    assert shape.duration_s == pytest.approx(duration_s)
    assert max(stage.users for stage in shape.stages) == users
    assert parsed(as_json(shape)) == shape


def test_a_shape_is_over_after_its_last_stage() -> None:
    shape = parsed(json.dumps({"name": "two", "stages": [STAGE, STAGE | {"starts_s": 10.0, "ends_s": 12.0}]}))
    assert [stage and stage.ends_s for stage in map(shape.stage_at, (0, 9.9, 10, 11.9, 12))] == [10, 10, 12, 12, None]


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        ([], "stages"),
        ([STAGE | {"starts_s": 1.0}], "stage 1 must start at 0 s"),
        ([STAGE, STAGE | {"starts_s": 11.0, "ends_s": 20.0}], "stage 2 must start at 10 s"),
        ([STAGE | {"ends_s": -1.0}], "ends_s"),
        ([STAGE | {"users": 0}], "users"),
        ([STAGE | {"users": 1_000_000}], "users"),
        ([STAGE | {"ends_s": 4_000.0}], "within 3600 s"),
        ([STAGE | {"colour": "red"}], "colour"),
    ],
)
def test_a_shape_with_holes_is_refused_by_name(stages: list[Any], told: str) -> None:
    with pytest.raises(ShapeMustBeWholeError, match=told):
        parsed(json.dumps({"name": "bad", "stages": stages}))


def test_an_unknown_name_and_no_json_are_refused() -> None:
    with pytest.raises(ShapeMustBeWholeError, match="must be one of"):
        named("zigzag", users=1, duration_s=1)
    with pytest.raises(ShapeMustBeWholeError):
        parsed("{")
