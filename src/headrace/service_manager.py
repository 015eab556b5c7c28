"""Reports the state of the process to systemd: the protocol of sd_notify(3), without its library.

A unit with `Type=notify` counts as started when it is ready, and with `WatchdogSec=` a process
whose event loop hangs is replaced. Without systemd, nothing here has an effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import MutableMapping

#: systemd reads its socket at once; a full one must not hold up the process.
SEND_SECONDS_MAX = 1.0


class ServiceManager:
    """Where systemd wants to hear from this process, if it does.

    Args:
        address: path of a datagram socket, `@` in front for an abstract one; empty: nowhere.
        watchdog_s: the process is replaced when it is silent for longer; 0: never.
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = address
        self._watchdog_s = watchdog_s

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> ServiceManager:
        """Read what systemd has set, and remove it: it is not for workers and handlers."""
        address = environ.pop("NOTIFY_SOCKET", "")
        watchdog_us = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "")
        is_watched = watchdog_us.isdecimal() and pid in {"", str(os.getpid())}
        return cls(address, int(watchdog_us) / 1e6 if is_watched else 0.0)

    def ready(self, status: str) -> None:
        """The start is complete."""
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._send("STOPPING=1\nSTATUS=Stopping")

    async def report_alive(self) -> None:
        """Report twice in the time of the watchdog that the event loop runs, until cancelled."""
        while self._watchdog_s:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self._watchdog_s / 2)

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        # A lost report is not worth the end of a server that works.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending,
        ):
            sending.settimeout(SEND_SECONDS_MAX)
            sending.sendto(state.encode(), address)
