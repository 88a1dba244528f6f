"""`cellwallet limits`: what is sent to the control plane, and what is told of its answers."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from scripted_router import Answer, Seen, scripted_router
from typer.testing import CliRunner

from cellwallet.commands import limits

WALLET = "0190b2f4-5a6e-7c3d-8e9f-0a1b2c3d4e5f"


def _limit(vendor: str | None, wallet: str | None, amount: int | None, day: int | None) -> dict[str, Any]:
    return {"subject": {"vendor": vendor, "wallet_id": wallet}, "amount_max": amount, "day_max": day}


def _stack(folder: Path, control_plane_url: str) -> Path:
    document = {
        "router_url": "http://127.0.0.1:1",
        "control_plane_url": control_plane_url,
        "console_url": control_plane_url,
        "router": {"pids": [1]},
        "control_plane": {"pids": [1]},
        "cells": [],
        "tokens": {"vendor": "v", "operator": "operators-token"},
        "data": str(folder),
        "supervisor_pid": 1,
    }
    (folder / "stack.json").write_text(json.dumps(document))
    return folder


def _run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(limits.app, [*arguments, "--data", str(data)])


def test_every_page_is_shown(tmp_path: Path) -> None:
    first, second = _limit("acme", None, 1_000, None), _limit(None, WALLET, None, 5_000)

    def answer(seen: Seen) -> Answer:
        is_second = "cursor=~acme" in seen.path
        return Answer(
            status=200,
            document={"limits": [second if is_second else first], "next_cursor": None if is_second else "~acme"},
        )

    with scripted_router(answer) as control_plane:
        data = _stack(tmp_path, control_plane.url)
        as_json, as_table = _run(data, "show", "--json"), _run(data, "show")
    assert json.loads(as_json.stdout) == {"limits": [first, second]}
    assert "1,000" in as_table.stdout
    assert "5,000" in as_table.stdout
    assert all(seen.headers["authorization"] == "Bearer operators-token" for seen in control_plane.seen)


def test_what_is_set_replaces_the_subject_whole(tmp_path: Path) -> None:
    set_ = _limit("acme", WALLET, None, 5_000)
    with scripted_router(lambda _: Answer(status=200, document=set_)) as control_plane:
        data = _stack(tmp_path, control_plane.url)
        result = _run(data, "set", "--vendor", "acme", "--wallet", WALLET, "--day", "5000", "--json")
    assert json.loads(result.stdout) == set_
    [seen] = control_plane.seen
    assert (seen.method, seen.path, seen.body) == ("PUT", "/v1/limits", set_)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--amount", "5"],
        ["--vendor", "acme"],
        ["--vendor", "acme", "--amount", "0"],
        ["--vendor", "acme", "--amount", "-5"],
        ["--vendor", "acme", "--amount", "1.50"],
        ["--vendor", "acme", "--amount", "many"],
    ],
)
def test_what_is_no_limit_is_a_matter_of_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert _run(tmp_path, "set", *arguments).exit_code == 2


def test_a_refusal_is_told(tmp_path: Path) -> None:
    document = {"reason": "limits_must_fit_the_configuration", "detail": "no more fit"}
    with scripted_router(lambda _: Answer(status=409, document=document)) as control_plane:
        result = _run(_stack(tmp_path, control_plane.url), "set", "--wallet", WALLET, "--amount", "5")
    assert result.exit_code == 1
    assert "limits_must_fit_the_configuration" in result.stderr


def test_a_control_plane_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = _run(_stack(tmp_path, url), "show")
    assert result.exit_code == 1
    assert url in " ".join(result.stderr.split())


def test_without_a_platform_the_way_to_one_is_told(tmp_path: Path) -> None:
    result = _run(tmp_path, "show")
    assert result.exit_code == 1
    assert "cellwallet up" in " ".join(result.stderr.split())
