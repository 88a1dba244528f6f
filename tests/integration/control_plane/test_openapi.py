"""The OpenAPI document holds: schemathesis over every operation, bounded, with a fleet behind it."""

import asyncio
from typing import Any

import pytest
import schemathesis
from platform_keys import bearer
from running_platform import RunningPlatform
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

EXAMPLES_PER_OPERATION = 10


async def test_every_operation_keeps_to_the_document(born: RunningPlatform, pytestconfig: pytest.Config) -> None:
    """By the seed of the whole run: left to itself schemathesis draws one of its own, which nobody can repeat."""
    document = (await born.client.get("/openapi.json")).json()
    plan = _plan(born, seed=pytestconfig.getoption("randomly_seed"))
    seen, findings = await asyncio.to_thread(_run, document, plan)
    assert findings == []
    operations = {f"{method.upper()} {path}" for path, found in document["paths"].items() for method in found}
    assert seen == operations


def _run(document: dict[str, Any], plan: dict[str, Any]) -> tuple[set[str], list[str]]:
    """The operations that were tried, and what was found."""
    schema = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_dict(plan))
    seen, findings = set(), []
    for event in from_schema(schema).execute():
        match event:
            case events.ScenarioFinished():
                seen |= {case.value.operation.label for case in event.recorder.cases.values()}
                for checks in event.recorder.checks.values():
                    findings += [str(check.failure_info.failure) for check in checks if check.failure_info]
            case events.NonFatalError() | events.FatalError():
                findings.append(str(event))
    return seen, findings


def _plan(platform: RunningPlatform, *, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "base-url": str(platform.client.base_url),
        "headers": bearer(platform.keys.operator()),
        "operations": [{"include-name": "POST /v1/cells", "headers": bearer(platform.keys.join("cell-1"))}],
        "generation": {"max-examples": EXAMPLES_PER_OPERATION, "with-security-parameters": False},
        # A 503 of the document is an answer: what is ordered may be of a cell that stands still.
        "checks": {"not_a_server_error": {"expected-statuses": ["2xx", "3xx", "4xx", 503]}},
        "phases": {"stateful": {"enabled": False}},
        "max-failures": 20,
    }
