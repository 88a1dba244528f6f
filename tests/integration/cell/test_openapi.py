"""The OpenAPI document of a running cell: it describes every route and problem, and the cell does what it says."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from cell_databases import CellDatabases
from cell_process import EVERY_SCOPE, Vendor, running_cell

from cell.api.write_routes import COLLECTION, PREFIX, WRITE_ROUTES
from contract.bulk import BULK_PATH
from contract.money import MINOR_UNIT_DIGITS
from contract.reasons import MEANINGS, MEANINGS_ON_READS, Reason

EXAMPLES_MAX = 8
"""Per operation; the cases of the coverage phase are some 60 more."""
UNDESCRIBED = {Reason.ROUTE_MUST_EXIST, Reason.METHOD_MUST_BE_ALLOWED, Reason.REQUEST_MUST_NOT_BREAK_THE_CELL}
"""Answers of no operation, and the one that is never expected."""
HIDDEN = {"/healthz", "/readyz", "/docs", "/docs/oauth2-redirect", "/openapi.json"}


@pytest.fixture(scope="module")
def document(vendor: Vendor) -> dict[str, Any]:
    answer: dict[str, Any] = vendor.get("/openapi.json").json()
    return answer


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_route_is_described(document: dict[str, Any]) -> None:
    wallet = PREFIX + "{wallet_id}"
    writes = {(route.method, wallet + (f"/{route.verb}" if route.verb else "")) for route in WRITE_ROUTES}
    reads = {
        ("GET", wallet),
        ("GET", f"{wallet}/balance"),
        ("GET", f"{wallet}/entries"),
        ("GET", f"{wallet}/statement"),
        ("GET", f"{wallet}/holds"),
        ("GET", f"{wallet}/holds/{{hold_id}}"),
        ("GET", f"{wallet}/transactions/{{transaction_id}}"),
        ("GET", "/v1/owners/{type}/{ref}/wallets"),
        ("GET", "/v1/webhooks/{webhook_id}/dead_letters"),
        ("POST", "/v1/webhooks/{webhook_id}/redeliver"),
        ("GET", f"{wallet}/transfers/{{transaction_id}}"),
        ("GET", f"{wallet}/groups/{{transaction_id}}"),
        ("GET", f"{wallet}/proof"),
        ("GET", "/v1/checkpoints"),
        ("GET", "/v1/keys"),
    }
    described = {(method, path.replace("{ref:path}", "{ref}")) for method, path in operations(document)}
    assert described == writes | reads | {("POST", COLLECTION), ("POST", BULK_PATH)}
    assert not HIDDEN & set(document["paths"])


def test_every_described_route_answers(document: dict[str, Any], vendor: Vendor) -> None:
    """Not 404 `route_must_exist`, not 405: something that it has decided."""
    places = {"wallet_id": "x", "webhook_id": "x", "transaction_id": "x", "hold_id": "x", "type": "X", "ref": "x"}
    for method, path in operations(document):
        answer = vendor.client.request(method, path.replace(":path", "").format(**places), json={})
        # Where nothing of the request can be wrong, the answer is one.
        assert answer.status_code == (200 if method == "GET" and "{" not in path else 400), (method, path)


def statuses_of(reason: Reason) -> set[int]:
    return {meanings[reason].status for meanings in (MEANINGS, MEANINGS_ON_READS) if reason in meanings}


def test_every_problem_is_described_where_it_may_come(document: dict[str, Any]) -> None:
    statuses = {MEANINGS[reason].status for reason in Reason if reason not in UNDESCRIBED}
    for (method, path), operation in operations(document).items():
        problems = {int(status): answer for status, answer in operation["responses"].items() if int(status) >= 400}
        for status, answer in problems.items():
            reasons = [reason for reason in Reason if status in statuses_of(reason)]
            assert reasons, (method, path, status)
            assert all(reason.value in answer["description"] for reason in reasons)
            assert list(answer["content"]) == ["application/problem+json"]
        missing = statuses - problems.keys()
        of_items = (
            {403, 404, 409, 421, 422} if path == BULK_PATH else set() if "requestBody" in operation else {409, 422}
        )
        assert missing <= of_items, (method, path)


def test_every_operation_is_named_once_and_needs_a_token(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for operation in operations(document).values()]
    assert len(set(names)) == len(names)
    assert document["security"] == [{"bearer": []}]
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for (method, path), operation in operations(document).items():
        assert operation["summary"], (method, path)
        named = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "path"}
        assert all(f"{{{name}" in path for name in named)


def test_the_document_points_at_nothing_that_is_missing(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def references(part: Any) -> set[str]:
        if isinstance(part, dict):
            own = {part["$ref"]} if "$ref" in part else set()
            return own.union(*(references(inner) for inner in part.values()))
        return set().union(*(references(inner) for inner in part)) if isinstance(part, list) else set()

    assert {reference.rpartition("/")[2] for reference in references(document)} <= set(schemas)
    assert "HTTPValidationError" not in schemas


# Schemathesis. What it may not hold a cell to is that everything which fits the schema is accepted: a wallet of another
# currency, an id that is not the owner's, an integer written as 1.0.


def shortened(document: dict[str, Any]) -> dict[str, Any]:
    """One currency instead of all, each of which would be tried everywhere; and without the headers, for what is
    not listed there is not refused (tests/integration/cell/test_bad_input.py asks for both).
    """

    def without_most_currencies(part: Any) -> Any:
        if isinstance(part, list):
            return [without_most_currencies(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        if set(part.get("enum", ())) == set(MINOR_UNIT_DIGITS):
            return {**part, "enum": ["EUR"]}
        return {name: without_most_currencies(inner) for name, inner in part.items()}

    short: dict[str, Any] = without_most_currencies(document)
    # What is wrong with one operation is said in its result: the request as a whole is accepted.
    operations_of_bulk = short["components"]["schemas"]["BulkBody"]["properties"]["operations"]
    operations_of_bulk["items"] = {"anyOf": [operations_of_bulk["items"], {}]}
    for operation in operations(short).values():
        operation["parameters"] = [one for one in operation.get("parameters", ()) if one["in"] != "header"]
    return short


@pytest.mark.parametrize(
    ("is_real", "phases"),
    [(False, "fuzzing"), (True, "coverage,fuzzing")],
    ids=["wallets of nobody", "a wallet with money"],
)
def test_a_cell_does_what_its_document_says(
    databases: CellDatabases, document: dict[str, Any], tmp_path: Path, *, is_real: bool, phases: str
) -> None:
    seed = random.randrange(2**31)
    with running_cell(databases.copy()) as cell, cell.client() as client:
        wallet_id = Vendor(client, cell).open(balance=10**9, overdraft_limit=10**9)
        schema, configuration = tmp_path / "openapi.json", tmp_path / "schemathesis.toml"
        schema.write_text(json.dumps(shortened(document)))
        configuration.write_text(f'[parameters]\n"path.wallet_id" = "{wallet_id}"\n' if is_real else "")
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration), "run", str(schema)),
                *("--url", cell.url, "--header", f"Authorization: Bearer {cell.token(EVERY_SCOPE)}"),
                # One worker: CPython 3.11 counts the depth of its parser for all threads together, and breaks on it.
                *("--workers", "1", "--phases", phases, "--max-examples", str(EXAMPLES_MAX), "--seed", str(seed)),
                *("--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-shrink"),
            ],
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        print(run.stdout)  # noqa: T201 - the findings are for the reader of a failure
        assert run.returncode == 0, run.stdout + run.stderr
        count = len(operations(document))
        assert f"{count} selected / {count} total" in run.stdout
        assert client.get(f"/v1/wallets/{wallet_id}").status_code == 200
        asyncio.run(cell.database.assert_clean())


def test_the_document_is_open_to_everybody(vendor: Vendor) -> None:
    with httpx.Client(base_url=vendor.cell.url, trust_env=False, verify=False) as client:  # noqa: S501 - no TLS here
        assert client.get("/openapi.json").status_code == 200
