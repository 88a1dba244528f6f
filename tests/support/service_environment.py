"""Whether a service starts with an environment that a file writes down: every name known, every value a good one."""

import importlib
import os
import re
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from cell.settings import Settings as CellSettings
from control_plane.settings import Settings as ControlPlaneSettings
from router.settings import Settings as RouterSettings

SETTINGS: dict[str, type[BaseSettings]] = {
    "cell": CellSettings,
    "router": RouterSettings,
    "control_plane": ControlPlaneSettings,
}
PREFIXES = {"cell": "CELL_", "router": "ROUTER_", "control_plane": "CONTROL_PLANE_"}


def settings_from(service: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """As the service reads them at its start; raises pydantic's ValidationError."""
    with monkeypatch.context() as patch:
        for prefix in PREFIXES.values():
            for name in [name for name in os.environ if name.startswith(prefix)]:
                patch.delenv(name)
        for name, text in environment.items():
            patch.setenv(name, text)
        return SETTINGS[service]()


def verbs_of(service: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The words that `python -m SERVICE` takes, as it tells them; none = it takes no word."""
    program = importlib.import_module(f"{service}.__main__")
    if service == "router":
        return set()
    assert program.main(["no such verb"]) == 2
    told = re.search(rf"usage: python -m {service} (.+)", capsys.readouterr().err)
    assert told is not None
    return set(told[1].split(" | "))


def service_and_verb(command: list[str]) -> tuple[str, str | None]:
    """Of `python -m SERVICE [VERB]`."""
    assert command[:2] == ["python", "-m"], command
    service, *verb = command[2:]
    assert service in SETTINGS, command
    assert len(verb) <= 1, command
    return service, verb[0] if verb else None


def must_be_a_real_command(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    service, verb = service_and_verb(command)
    verbs = verbs_of(service, capsys)
    assert verb in verbs if verbs else verb is None, f"{command}: {service} knows {sorted(verbs)}"
