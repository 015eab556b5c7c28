"""Checks of the machine: clock, open files and port."""

from __future__ import annotations

import contextlib
import errno
import resource
import socket
from pathlib import Path

from headrace.cli.doctor.finding import Finding, fail, ok, warn
from headrace.cli.running.welcome import url_of
from headrace.cli.shared.http_client import Client, Unreachable
from headrace.config import Settings
from headrace.domain.timestamps import parse, to_text

#: No machine that runs this release can have an earlier date.
RELEASED_US = parse("2026-01-01T00:00:00Z")
#: A clock this far behind the newest event was set back.
CLOCK_BEHIND_US = 5_000_000
#: File descriptors for the server's connections, and some for files.
FILES_WANTED = 10_100
PROBE_SECONDS = 2.0


def check_clock(now_us: int, newest_us: int) -> Finding:
    """Check the clock against the release date and the newest event (0: there is none)."""
    found = to_text(now_us)
    if now_us < RELEASED_US:
        return fail("clock", found, "Set the clock: it is earlier than this release.")
    if newest_us > now_us + CLOCK_BEHIND_US:
        advice = "Set the clock, with NTP: the newest stored event is later than now."
        return warn("clock", f"{found}, newest event {to_text(newest_us)}", advice)
    return ok("clock", found)


def check_files() -> Finding:
    """Check how many connections the system allows one process."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_WANTED:
        return ok("open files", "unlimited" if soft == resource.RLIM_INFINITY else str(soft))
    advice = (
        f"Raise it for more than {max(0, soft - 100)} connections at once: ulimit -n {FILES_WANTED}"
    )
    return warn("open files", str(soft), advice)


def check_port(settings: Settings) -> Finding:
    """Check that the server can listen, or name the process that holds the port."""
    host, port = settings.host, settings.port
    name = f"port {port}"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return fail(
                name, f"{host}: {error.strerror or error}", "Choose another --host or --port."
            )
        if _is_headrace(url_of(host, port)):
            return ok(name, f"in use by headrace{_holder(port)}")
        advice = "Stop that process, or choose another --port."
        return fail(name, f"in use by another program{_holder(port)}", advice)
    return ok(name, "free")


def _is_headrace(url: str) -> bool:
    try:
        with contextlib.closing(Client(url, "", PROBE_SECONDS)) as client:
            response = client.ask("GET", "/healthz")
    except Unreachable:
        return False
    return response.status == 200 and "x-request-id" in response.headers


def _holder(port: int) -> str:
    """` (pid 123, nginx)` when this user may see it, else empty."""
    inodes = {
        inode for name in ("tcp", "tcp6") for inode in _listening(Path("/proc/net", name), port)
    }
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {str(link.readlink()) for link in (process / "fd").iterdir()}
            if links & inodes:
                return f" (pid {process.name}, {(process / 'comm').read_text('utf-8').strip()})"
        except OSError:
            # The process has ended, or belongs to another user.
            continue
    return ""


def _listening(table: Path, port: int) -> set[str]:
    try:
        rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
    except OSError:
        return set()
    listen = "0A"
    return {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == listen and int(row[1].rpartition(":")[2], 16) == port
    }
