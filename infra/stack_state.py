"""The resources in what Pulumi prints of a stack, as the policies see them: pure.

Two documents are known: `pulumi preview --json` (what would be) and `pulumi stack export` (what is).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.policies import Declared

GONE = {"delete", "delete-replaced", "discard", "discard-replaced", "remove-pending-replace"}
"""Steps of a preview after which a resource is not there."""
ENGINE = "pulumi:"
"""Stacks, providers and references: the engine's own."""


class StateMustBeKnownError(Exception):
    """A document that is neither a preview nor an export."""


def declared_in(document: Mapping[str, Any]) -> list[Declared]:
    """What would be, or is, without components: those are names for groups.

    Raises:
        StateMustBeKnownError: it is no such document.

    """
    found = {one["urn"]: one for one in _states(document) if one.get("custom") and not one["type"].startswith(ENGINE)}
    return [_declared(one) for one in found.values()]


def _states(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "steps" in document:
        for step in document["steps"]:
            if step["op"] not in GONE and step.get("newState"):
                yield step["newState"]
    elif "resources" in document.get("deployment", {}):
        yield from (one for one in document["deployment"]["resources"] if not one.get("delete"))
    else:
        raise StateMustBeKnownError("this must be what `pulumi preview --json` or `pulumi stack export` prints")


def _declared(one: Mapping[str, Any]) -> Declared:
    return Declared(
        type=one["type"],
        name=one["urn"].rpartition("::")[2],
        inputs=one.get("inputs", {}),
        id=one.get("id", ""),
        is_protected=one.get("protect", False),
    )
