"""Renders the pages that are lists of what the code has: reasons, settings, lives of things. `make docs` writes them;
a test compares them with what is committed.
"""

import sys
from pathlib import Path

from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from cell.ledger.grouping import GROUP_TRANSITIONS as GROUP_LIFE
from cell.ledger.holding import HOLD_AFTER
from cell.ledger.statuses import TRANSITIONS as WALLET_LIFE
from cell.ledger.transferring import TRANSFER_TRANSITIONS as TRANSFER_LIFE
from cell.ledger.unit_life import UNIT_TRANSITIONS as UNIT_LIFE
from cell.settings import Settings as CellSettings
from cellwallet.local.failover import NEXT as PAIR_LIFE
from contract.reasons import MEANINGS, MEANINGS_ON_READS, Reason
from control_plane.evacuations.states import TRANSITIONS as EVACUATION_LIFE
from control_plane.fleet.lifecycle import TRANSITIONS as CELL_LIFE
from control_plane.moves.states import TRANSITIONS as MOVE_LIFE
from control_plane.rollouts.states import TRANSITIONS as ROLLOUT_LIFE
from control_plane.settings import Settings as ControlPlaneSettings
from router.routing.breaker import TRANSITIONS as BREAKER_LIFE
from router.settings import Settings as RouterSettings

DOCS = Path(__file__).parent
NOTE = "<!-- Written by `make docs` from the code; edit the code instead. -->"


def pages() -> dict[str, str]:
    """File name to text."""
    return {"status_codes.md": status_codes(), "settings.md": settings(), "lives.md": lives()}


def status_codes() -> str:
    lines = [
        NOTE,
        "# Reasons and status codes",
        "",
        "Every refusal is a problem document (RFC 9457, `application/problem+json`). `reason` says what must hold, in",
        "order of precedence: of several reasons the first one is told. `retry` says what may be sent again:",
        "`never`, `same_id` (the same request is safe), `new_id` (only as a new transaction). *Recorded* refusals",
        "are entries of the wallet's log: the same id is refused for ever.",
        "",
        "| reason | status | retry | recorded | title |",
        "| --- | --- | --- | --- | --- |",
    ]
    for reason in Reason:
        meaning = MEANINGS[reason]
        recorded = "yes" if meaning.is_recorded else ""
        lines.append(f"| `{reason.value}` | {meaning.status} | `{meaning.retry}` | {recorded} | {meaning.title} |")
        on_read = MEANINGS_ON_READS.get(reason)
        if on_read is not None:
            lines.append(f"| `{reason.value}` on reads | {on_read.status} | `{on_read.retry}` | | {on_read.title} |")
    return "\n".join(lines) + "\n"


def settings() -> str:
    lines = [
        NOTE,
        "# Settings",
        "",
        "Each service reads its environment once, at its start; an unknown variable with its prefix is refused.",
        "`cellwallet up` sets all of them.",
    ]
    for name, model, prefix in (
        ("Cell: `python -m cell serve`", CellSettings, "CELL_"),
        ("Router: `python -m router`", RouterSettings, "ROUTER_"),
        ("Control plane: `python -m control_plane serve`, and its `mover`", ControlPlaneSettings, "CONTROL_PLANE_"),
    ):
        lines += ["", f"## {name}", "", "| variable | default | meaning |", "| --- | --- | --- |"]
        lines += _fields(model, prefix)
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseSettings], prefix: str) -> list[str]:
    rows = []
    for name, field in model.model_fields.items():
        default = "required" if field.default is PydanticUndefined else f"`{_shown(field.default)}`"
        meaning = " ".join((field.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{prefix}{name.upper()}` | {default} | {meaning} |")
    return rows


def _shown(default: object) -> str:
    text = str(getattr(default, "value", default))
    return text or '""'


def lives() -> str:
    wallet = [(state, "", then) for state, reached in WALLET_LIFE.items() for then in sorted(reached - {state})]
    cell = [(state, event.value, then) for (state, event), then in CELL_LIFE.items()]
    breaker = [(state.value, event.value, then.value) for (state, event), then in BREAKER_LIFE.items()]
    lines = [NOTE, "# Lives", "", "State machines are tables in the code; these are their pictures."]
    hold = [("[*]" if kind == "hold" else "open", kind, then) for kind, then in HOLD_AFTER.items()]
    transfer = [(state, "", then) for state, reached in TRANSFER_LIFE.items() for then in sorted(reached)]
    group = [(state, "", then) for state, reached in GROUP_LIFE.items() for then in sorted(reached)]
    unit = [(state or "[*]", event.value, then or "[*]") for (state, event), then in UNIT_LIFE.items()]
    move = [(state, event.value, then) for (state, event), following in MOVE_LIFE.items() for then in following]
    pair = [(state, "", then) for state, reached in PAIR_LIFE.items() for then in sorted(reached)]
    rollout = [(state, event.value, then) for (state, event), following in ROLLOUT_LIFE.items() for then in following]
    evacuation = [(state, event.value, then) for (state, event), then in EVACUATION_LIFE.items()]
    for title, edges in (
        ("A wallet", wallet),
        ("A hold, by the kinds of its entries; a capture in part leaves it open", hold),
        ("A transfer to another cell", transfer),
        ("A group", group),
        ("A unit in one cell", unit),
        ("A move; from planned to published it is the life of one portion of units, and begins again", move),
        ("A cell", cell),
        ("A rollout; from planned to passed it is the life of one wave, and begins again", rollout),
        ("An evacuation of a zone; a fail-back begins at switching", evacuation),
        ("A router's breaker for a cell", breaker),
        ("The two databases of a cell; on the ways out of promoting, their roles have changed", pair),
    ):
        lines += ["", f"## {title}", "", "```mermaid", "stateDiagram-v2", *map(_edge, edges), "```"]
    return "\n".join(lines) + "\n"


def _edge(edge: tuple[str, str, str]) -> str:
    state, event, then = edge
    return f"    {state} --> {then}" + (f": {event}" if event else "")


def main() -> None:
    for name, text in pages().items():
        (DOCS / name).write_text(text)
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
