"""The program HAProxy: where it is, whether it is new enough, and how it is run. Its files are the router's affair."""

import os
import re
import shutil
import subprocess
from pathlib import Path

VERSION_MIN = (2, 6)
"""The first with `balance hash` on an expression."""

_PLACES = ("/usr/local/sbin", "/usr/sbin")
"""Looked at after the path: packages put servers where the path of ordinary users does not lead."""
_VERSION = re.compile(r"version (\d+)\.(\d+)")


class HaproxyMustBeInstalledError(Exception):
    """There is no program haproxy, or an old one."""


def haproxy_program() -> Path:
    """The program, and certainty that it is new enough.

    Raises:
        HaproxyMustBeInstalledError: it is missing or too old.

    """
    found = shutil.which("haproxy") or shutil.which("haproxy", path=os.pathsep.join(_PLACES))
    wanted = ".".join(map(str, VERSION_MIN))
    if found is None:
        raise HaproxyMustBeInstalledError(
            f"router 'haproxy' needs the program haproxy, {wanted} or newer: apt-get install haproxy; "
            "without it: --router python"
        )
    told = subprocess.run([found, "-v"], capture_output=True, text=True, check=False).stdout  # noqa: S603 - as asked for
    version = _VERSION.search(told)
    if version is None or (int(version[1]), int(version[2])) < VERSION_MIN:
        raise HaproxyMustBeInstalledError(f"haproxy must be {wanted} or newer; {found} is not")
    return Path(found)


def haproxy_command(program: Path, folder: Path) -> tuple[str, ...]:
    """Master and worker in the foreground; the folder is where its files name each other from."""
    return (str(program), "-W", "-S", "unix@master.sock", "-C", str(folder), "-f", "haproxy.cfg")
