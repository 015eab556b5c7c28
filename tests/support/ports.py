"""Ports for servers that cannot choose one themselves, such as PostgreSQL and PgBouncer."""

from __future__ import annotations

import random
import socket

#: Below the range that Linux uses for outgoing connections and for servers that ask for any port,
#: so that none of them can take it between this check and the start of the server.
_PORTS = range(12_000, 32_000)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on; random, so that parallel test processes do not collide."""
    choices = random.SystemRandom().sample(_PORTS, 100)
    for port in choices:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"none of these ports is free: {choices}")
