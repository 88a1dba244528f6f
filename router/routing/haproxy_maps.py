"""The map as HAProxy reads it, and how to bring a running HAProxy from one map to another.

Pure. Texts and dictionaries only: `haproxy_configuration.py` draws what stands around the maps, `router/haproxy/`
writes, sends and reads. Slots and wallets lead to the name of a backend: a cell's id, or the agent for everything that
needs more than a lookup.
"""

import re
from collections.abc import Mapping

from contract.slots import SLOTS, Unit
from contract.values import value
from router.routing.directory import NO_CELL, Directory

AGENT = "router:agent"
"""The backend that is the Python proxy; a cell's id has no colon."""

SLOTS_MAP = "slots.map"
WALLETS_MAP = "wallets.map"
FACTS_MAP = "facts.map"
DOUBTED_MAP = "doubted.map"
"""Wallets that a cell has just disowned: written by HAProxy itself, emptied by the agent, empty in its file."""

COMMANDS_MAX = 500
"""HAProxy looks each entry up by walking the map: beyond so many a reload is cheaper than its pauses."""

Entries = Mapping[str, str]
Maps = Mapping[str, Entries]

_SHOWN = re.compile(r"0x[0-9a-f]+ (\S+) (\S+)")


@value
class InPlace:
    """What a HAProxy works by: the digest of its configuration, and its maps."""

    digest: str
    maps: Maps


@value
class Reload:
    """Have HAProxy read its files again."""

    why: str


@value
class Amend:
    """Commands for a running HAProxy; none where it has it all."""

    commands: tuple[str, ...]


def maps_of(directory: Directory | None) -> Maps:
    """Without a map everything is for the agent, which knows what to say."""
    if directory is None:
        return {SLOTS_MAP: {}, WALLETS_MAP: {}, FACTS_MAP: {}}
    names = [str(cell.id) for cell in directory.cells]
    return {
        SLOTS_MAP: {
            str(slot): AGENT if index == NO_CELL or slot in directory.moving else names[index]
            for slot, index in enumerate(directory.slot_cells)
        },
        WALLETS_MAP: {
            wallet: AGENT if unit in directory.moving else names[directory.unit_cells[Unit(unit)]]
            for wallet, unit in sorted(directory.isolated.items())
        },
        FACTS_MAP: {"version": str(directory.version)} if directory.has_owners else {},
    }


def text_of(entries: Entries) -> str:
    return "".join(f"{key} {name}\n" for key, name in entries.items())


def entries_shown(answer: str) -> dict[str, str]:
    """The entries in HAProxy's answer to `show map`."""
    return {match[1]: match[2] for line in answer.splitlines() if (match := _SHOWN.fullmatch(line))}


def plan(now: InPlace, wanted: InPlace) -> Reload | Amend:
    """The version comes last: once it is there, everything before it is."""
    if now.digest != wanted.digest:
        return Reload(why="the configuration is another one")
    commands: list[str] = []
    for name in (SLOTS_MAP, WALLETS_MAP, FACTS_MAP):
        commands += _changes(name, now.maps.get(name, {}), wanted.maps[name])
    if len(commands) > COMMANDS_MAX:
        return Reload(why=f"{len(commands)} entries change at once")
    return Amend(commands=tuple(commands))


def _changes(name: str, now: Entries, wanted: Entries) -> list[str]:
    gone = [f"del map {name} {key}" for key in now if key not in wanted]
    added = [f"add map {name} {key} {to}" for key, to in wanted.items() if key not in now]
    changed = [f"set map {name} {key} {to}" for key, to in wanted.items() if now.get(key, to) != to]
    return [*added, *changed, *gone]


SLOT_EXPRESSION = f"crc32,mod({SLOTS})"
"""`contract.slots.slot_of` in HAProxy's words."""
