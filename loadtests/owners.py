"""Owners whose wallets lie in slots that are wanted: an id is a hash, so they are looked for. Pure."""

import itertools
from collections.abc import Collection, Iterator, Mapping

from contract.slots import slot_of
from loadtests.payloads import wallet_of


def owners_in_slots(wanted: Mapping[int, int]) -> dict[int, list[str]]:
    """So many owners for each slot; one of 16,384 names is in a slot, so many of them take seconds."""
    found: dict[int, list[str]] = {slot: [] for slot in wanted}
    missing = sum(wanted.values())
    for name in map("moved {}".format, itertools.count()):
        if not missing:
            return found
        slot = slot_of(wallet_of(name))
        if slot in found and len(found[slot]) < wanted[slot]:
            found[slot].append(name)
            missing -= 1
    raise AssertionError("names do not end")


def owners_beside(slots: Collection[int], count: int) -> list[str]:
    """In any slots but these."""
    names: Iterator[str] = map("neighbour {}".format, itertools.count())
    return list(itertools.islice((name for name in names if slot_of(wallet_of(name)) not in slots), count))
