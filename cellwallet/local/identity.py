"""As whom PostgreSQL runs: it refuses root, and it must own its files.

Not root: as ourselves. Root: as `nobody`; where `nobody` cannot reach the programs or the data, inside a user namespace
in which root looks like `nobody`; or as the user in whose folders the data lies. Whoever owns a cluster that exists
already comes first. Knows nothing of clusters but their owner.
"""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from contract.values import value

UNPRIVILEGED_USER = "nobody"
LEASH = Path(__file__).with_name("leash.py")
PROBE_TIMEOUT_S = 10.0


class PostgresMustRunUnprivilegedError(Exception):
    """There is no way to run PostgreSQL as somebody else than root here."""


@value
class Identity:
    kind: Literal["self", "user", "namespace"]
    uid: int
    gid: int

    @property
    def owner(self) -> tuple[int, int]:
        """Who owns the files, seen from outside of any namespace."""
        return (os.geteuid(), os.getegid()) if self.kind == "namespace" else (self.uid, self.gid)

    @property
    def leash_word(self) -> str:
        return "self" if self.kind == "self" else f"{self.kind}:{self.uid}:{self.gid}"


SELF = Identity(kind="self", uid=-1, gid=-1)


def leashed(
    command: list[str], *, parent_signal: int, parent_pid: int | None = None, identity: Identity = SELF
) -> list[str]:
    """The command wrapped so that it gets `parent_signal` when its parent (we) dies, and runs as `identity`."""
    return [
        sys.executable,
        "-I",
        "-S",
        str(LEASH),
        str(parent_signal),
        str(parent_pid or os.getpid()),
        identity.leash_word,
        *command,
    ]


def choose_identity(folder: Path, *, program: Path, owner: tuple[int, int] | None) -> Identity:
    """As whom `program` can run with a cluster in `folder` (whose parent exists); `owner` is the present one's.

    Raises:
        PostgresMustRunUnprivilegedError: nobody fits; the message says what must hold.

    """
    ours = os.geteuid()
    if ours not in {0, owner[0] if owner else ours}:
        raise PostgresMustRunUnprivilegedError(
            f"{folder} belongs to user {owner and owner[0]}: run as that user, as root, or choose another data folder"
        )
    for identity in _candidates_of_root(owner, folder=folder) if ours == 0 else _candidates_of_user():
        if _can_run(identity, program=program, folder=folder.parent):
            return identity
    raise PostgresMustRunUnprivilegedError(
        f"PostgreSQL runs neither as root nor as a user without a name: either user {UNPRIVILEGED_USER!r} must be able "
        f"to enter {folder.parent} and to run {program}, or the kernel must allow user namespaces, or run this as an "
        f"ordinary user"
    )


def give_to(identity: Identity, *paths: Path) -> None:
    """Make the identity the owner of files and of everything below folders; only root can and must."""
    if os.geteuid() != 0:
        return
    for path in paths:
        os.chown(path, *identity.owner)
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                os.chown(Path(folder) / name, *identity.owner, follow_symlinks=False)


def _candidates_of_user() -> Iterator[Identity]:
    """Ourselves, or in a container that runs us under a number only, somebody who has a name."""
    if _has_name(os.geteuid()):
        yield Identity(kind="self", uid=os.geteuid(), gid=os.getegid())
    yield _nobody("namespace")


def _candidates_of_root(owner: tuple[int, int] | None, *, folder: Path) -> Iterator[Identity]:
    if owner is None:
        yield from (_nobody("user"), _nobody("namespace"))
    elif owner[0] == 0:
        yield from (_nobody("namespace"), _nobody("user"))
    else:
        yield from (Identity(kind="user", uid=owner[0], gid=owner[1]), _nobody("namespace"))
    around = next((found for found in map(Path.stat, folder.parents) if found.st_uid != 0), None)
    if around is not None and _has_name(around.st_uid):
        yield Identity(kind="user", uid=around.st_uid, gid=around.st_gid)


def _nobody(kind: Literal["user", "namespace"]) -> Identity:
    nobody = pwd.getpwnam(UNPRIVILEGED_USER)
    return Identity(kind=kind, uid=nobody.pw_uid, gid=nobody.pw_gid)


def _has_name(uid: int) -> bool:
    """PostgreSQL looks its user up."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _can_run(identity: Identity, *, program: Path, folder: Path) -> bool:
    """Try it: permissions of every parent folder, shared libraries and the kernel's rules are all asked at once."""
    probe = ["/bin/sh", "-c", 'cd "$1" && exec "$2" --version', "probe", str(folder), str(program)]
    command = leashed(probe, parent_signal=9, identity=identity)
    answer = subprocess.run(command, capture_output=True, check=False, timeout=PROBE_TIMEOUT_S, cwd="/")  # noqa: S603 - our own words
    return answer.returncode == 0
