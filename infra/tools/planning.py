"""What is to be built, where it belongs, and with which words Go is asked: pure, from the text of the modules.

A family's folder in the cache is named by everything that goes into its programs, so what lies there is right by its
place, and a changed pin never meets an old binary.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from contract.values import value
from infra.tools.pins import FAMILIES, Family, Tool

HASH_DIGITS = 16
RELEASE = re.compile(r"v(\d+)\.(\d+)\.\S+")
FLAGS = ("-trimpath", "-mod=readonly", "-buildvcs=false")


class PinMustBeKnownError(Exception):
    """A module of ours does not require what its family is pinned by."""


class ToolMustBeKnownError(Exception):
    """There is no program of that name."""


@value
class Toolchain:
    version: str
    """As Go names itself: go1.26.8."""
    system: str
    """linux/amd64, say: a cache in a shared home serves several kinds of machines."""


@value
class Step:
    """One binary: what it is, where it belongs, whether it is there."""

    family: Family
    tool: Tool
    version: str
    file: Path
    is_built: bool


def named_families(names: Collection[str]) -> list[tuple[Family, Tool]]:
    """The programs of those names in the order of building; all where none is named.

    Raises:
        ToolMustBeKnownError: a name is none of ours.

    """
    known = [(family, tool) for family in FAMILIES for tool in family.tools]
    unknown = sorted(set(names) - {tool.name for _, tool in known})
    if unknown:
        raise ToolMustBeKnownError(
            f"no such tool: {', '.join(unknown)}; there are {', '.join(t.name for _, t in known)}"
        )
    return [(family, tool) for family, tool in known if not names or tool.name in names]


def content_hash(family: Family, sources: Mapping[str, bytes], toolchain: Toolchain) -> str:
    """Of everything that goes into the family's programs: its module's files, the linker's stamps, Go itself."""
    parts = [repr(family), *FLAGS, toolchain.version, toolchain.system]
    digest = hashlib.sha256()
    for part in [
        *(part.encode() for part in parts),
        *(word for item in sorted(sources.items()) for word in _words(item)),
    ]:
        digest.update(len(part).to_bytes(8, "big") + part)  # lengths, so that no two lists of parts read the same
    return digest.hexdigest()[:HASH_DIGITS]


def _words(source: tuple[str, bytes]) -> tuple[bytes, bytes]:
    name, content = source
    return name.encode(), content


def version_of(family: Family, go_mod: str) -> str:
    """The version that the family's module requires.

    Raises:
        PinMustBeKnownError: it requires none.

    """
    found = re.search(rf"^(?:require)?\s*{re.escape(family.module)} (v\S+)", go_mod, re.MULTILINE)
    if found is None:
        raise PinMustBeKnownError(f"{family.folder}/go.mod must require {family.module}")
    return found[1]


def go_version_min(go_mod: str) -> tuple[int, ...]:
    """What the module's `go` line asks for."""
    found = re.search(r"^go ([\d.]+)$", go_mod, re.MULTILINE)
    if found is None:
        raise PinMustBeKnownError("go.mod must have a `go` line")
    return tuple(map(int, found[1].split(".")))


def is_new_enough(toolchain: Toolchain, wanted: tuple[int, ...]) -> bool:
    """Release candidates count as the version before the first release."""
    found = re.match(r"go(\d+)\.(\d+)(?:\.(\d+))?", toolchain.version)
    return found is not None and tuple(int(number or 0) for number in found.groups()) >= wanted


def linker_flags(family: Family, version: str) -> str:
    """Without symbols, with the stamps.

    Raises:
        PinMustBeKnownError: stamps need a release, and the version is none.

    """
    release = RELEASE.fullmatch(version)
    if release is None:
        raise PinMustBeKnownError(f"{family.module} must be pinned to a release, not to {version}")
    stamps = [stamp.format(version=version, major=release[1], minor=release[2]) for stamp in family.stamps]
    return " ".join(["-s", "-w", *(f"-X {stamp}" for stamp in stamps)])


def build_command(step: Step, target: Path) -> list[str]:
    """`-v` tells each package as it is compiled, which is all the progress that Go shows."""
    stamps = linker_flags(step.family, step.version)
    return ["go", "build", "-v", *FLAGS, "-ldflags", stamps, "-o", str(target), step.tool.package]


def listing_command(step: Step) -> list[str]:
    """Prints a line per package that has to be compiled; also downloads what is needed, with a line for each module."""
    return ["go", "list", "-deps", *FLAGS, "-f", "{{if .Stale}}{{.ImportPath}}{{end}}", step.tool.package]


def missing(steps: Iterable[Step]) -> list[Step]:
    return [step for step in steps if not step.is_built]


def is_package(line: str) -> bool:
    """Of what `go build -v` says: a compiled package, not a heading, an error or a download."""
    return bool(line) and " " not in line and not line.startswith("#")


def downloaded_module(line: str) -> str | None:
    found = re.fullmatch(r"go: downloading (\S+ \S+)", line)
    return found[1] if found else None


def tail(lines: Sequence[str], count: int) -> list[str]:
    """The end of what Go said, without what it tells while all is well."""
    return [line for line in lines if not is_package(line) and downloaded_module(line) is None][-count:]
