"""Names of processes, and whether the one that bears a name still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def own_name() -> str:
    """`host:pid:start`, which no other process ever has: pids are reused, start times are not."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_start_of(pid)}"


def is_alive(name: str) -> bool:
    """Whether the process runs; True for one of another host, of which nothing is known here."""
    host, _, rest = name.rpartition(":")
    host, _, pid = host.rpartition(":")
    if host != socket.gethostname() or not pid.isdigit():
        return True
    return _start_of(int(pid)) == rest


def _start_of(pid: int) -> str:
    """Start time in clock ticks since boot; empty when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
    except OSError:
        return ""
    # The second field is the command in parentheses and may hold anything; the 22nd is the start.
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
