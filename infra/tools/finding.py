"""Where a built tool is, for those who run it; nothing is built in passing."""

from collections.abc import Collection, Mapping
from pathlib import Path

from infra.tools.cache import cache_folder, survey
from infra.tools.go import GoMustBeInstalledError, find_toolchain
from infra.tools.planning import missing, named_families


class ToolsMustBeBuiltError(Exception):
    """A tool that is needed has not been built; the message names it and the way."""


def find_tools(names: Collection[str], environment: Mapping[str, str]) -> dict[str, Path]:
    """The file of each; of the pins of this checkout, and no others.

    Raises:
        ToolsMustBeBuiltError: one of them is not there.

    """
    try:
        steps = survey(named_families(names), toolchain=find_toolchain(environment), root=cache_folder(environment))
    except GoMustBeInstalledError as error:
        raise ToolsMustBeBuiltError(str(error)) from error
    if absent := missing(steps):
        raise ToolsMustBeBuiltError(f"not built: {', '.join(s.tool.name for s in absent)}; `make infra-tools` does it")
    return {step.tool.name: step.file for step in steps}
