"""`value`: the one decorator of the project's immutable values.

A frozen dataclass pays for its immutability in every constructor call (about 3 x), and the money path builds several
values per command. So values are slotted and keyword-only at run time, and frozen for the type checker, which is what
reads all of the code before it runs. See docs/decisions/0002-values.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def value(cls: type[T]) -> type[T]:
    """Make `cls` a slotted, keyword-only value; mypy refuses assignment to its fields."""
    decorate: Callable[[type[T]], type[T]] = dataclass(slots=True, kw_only=True, eq=True, unsafe_hash=True)
    return decorate(cls)
