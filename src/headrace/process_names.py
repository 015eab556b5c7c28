"""Names of processes, and whether a named process still runs."""

from __future__ import annotations

import functools
import os
import socket
from hashlib import blake2b
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_PROCESSES = Path("/proc/self/ns/pid")


def own_name() -> str:
    """`place:pid:start`, unique for ever: pids are reused, start times are not."""
    pid = os.getpid()
    return f"{_place()}:{pid}:{_start_of(pid)}"


def is_alive(name: str) -> bool:
    """Whether the process runs; True for one of another place, which cannot be known here."""
    place, _, rest = name.rpartition(":")
    place, _, pid = place.rpartition(":")
    if place != _place() or not pid.isdigit():
        return True
    return _start_of(int(pid)) == rest


@functools.cache
def _place() -> str:
    """The scope of process ids: host name, boot and namespace.

    Machines on one database may share a name (`localhost`), and so may containers of one machine.
    """
    try:
        scope = _BOOT.read_text("ascii") + str(_PROCESSES.readlink())
    except OSError:
        # Other processes are unknown then: this name is unique.
        scope = os.urandom(16).hex()
    return f"{socket.gethostname()}/{blake2b(scope.encode(), digest_size=4).hexdigest()}"


def _start_of(pid: int) -> str:
    """Start time in clock ticks since boot; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may contain anything; the 22nd is the
    # start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
