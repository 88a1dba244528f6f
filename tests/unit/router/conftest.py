"""Maps for the tests of routing: small fleets whose slots are shared evenly."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from contract.directory import ApiInstance, DirectoryCell, DirectoryDocument, run_lengths
from contract.slots import SLOTS

MakeDocument = Callable[..., DirectoryDocument]


@pytest.fixture(scope="session")
def make_document() -> MakeDocument:
    """A document of a fleet; keywords replace its members, `slot_cells` is given as one cell per slot."""

    def make(*, cells: tuple[str, ...] = ("a", "b"), instances: int = 2, **members: object) -> DirectoryDocument:
        slot_cells = members.pop("slot_cells", None) or [cells[slot * len(cells) // SLOTS] for slot in range(SLOTS)]
        listed = {
            cell: DirectoryCell(
                api=tuple(ApiInstance(url=f"http://{cell}{n}:80", zone=f"zone-{n + 1}") for n in range(instances)),
                state="active",
            )
            for cell in cells
        }
        whole = {
            "version": 10,
            "issued_at": "2026-01-01T00:00:00.000000Z",
            "cells": listed,
            "slots": run_lengths(slot_cells),
            **members,
        }
        return DirectoryDocument.model_validate(whole)

    return make


@pytest.fixture
def mutant() -> Callable[[ModuleType, str, str], ModuleType]:
    """The module with one place of its source replaced: the protection there is gone."""

    def make(module: ModuleType, old: str, new: str) -> ModuleType:
        source = Path(str(module.__file__)).read_text()
        assert source.count(old) == 1, f"{old!r} is not found exactly once"
        mutated = ModuleType(f"{module.__name__}_mutant")
        sys.modules[mutated.__name__] = mutated
        try:
            exec(compile(source.replace(old, new), str(module.__file__), "exec"), mutated.__dict__)  # noqa: S102
        finally:
            del sys.modules[mutated.__name__]
        return mutated

    return make
