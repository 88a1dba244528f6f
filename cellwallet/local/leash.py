"""Exec wrapper: ties a process to the life of its parent and, for PostgreSQL, sheds root; then becomes the program.

    python -I -S leash.py SIGNAL PARENT_PID self|user:UID:GID|namespace:UID:GID PROGRAM ARGUMENT...

The kernel sends SIGNAL when the parent dies, kill -9 included. A wrapper and not a `preexec_fn`: forking runs no Python
between fork and exec, so it is safe next to threads. It imports nothing of the house, because it starts without paths.
"""

import ctypes
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000


def main(arguments: list[str]) -> None:
    signal_number, parent_pid, identity, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    kind, _, ids = identity.partition(":")
    if kind == "user":
        _become(*map(int, ids.split(":")))
    elif kind == "namespace":
        _enter_namespace(libc, *map(int, ids.split(":")))
    # Last, because the kernel forgets the wish when credentials change.
    _checked(libc.prctl(PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent_pid):
        sys.exit("the parent died before the leash was on")
    os.execvp(command[0], command)  # noqa: S606 - becoming the program is the purpose


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> None:
    """Look like `uid` to ourselves while files are still accessed as who we really are, without privileges."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    _checked(libc.unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {outer_uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {outer_gid} 1")


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])
