"""Listens, enforces the deadlines of its connections, and stops gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import errno

from headrace.http.server.connection import Connection
from headrace.http.server.exchange import Dispatcher
from headrace.http.server.wire import CLOCK

#: How often deadlines are checked: their precision.
SWEEP_SECONDS = 0.25
#: Limit of connections; further ones are closed. Each costs a descriptor and a few KiB.
CONNECTIONS_MAX = 10_000
BACKLOG = 2048


class HttpServer:
    """One listening socket and its connections."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, chosen by the system when `port` is 0.

        Raises:
            OSError: the address cannot be used; the message says why.
        """
        loop = asyncio.get_running_loop()
        clock = loop.time

        def make() -> asyncio.BaseProtocol:
            if len(self._connections) >= CONNECTIONS_MAX:
                return _OverLimit()
            return Connection(self._dispatcher, self._connections, clock)

        try:
            self._server = await loop.create_server(
                make, host, port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"port {port} of {host} is in use; choose another with --port"
                raise OSError(errno.EADDRINUSE, message) from None
            raise
        self._sweeper = asyncio.create_task(self._sweep())
        return int(self._server.sockets[0].getsockname()[1])

    async def _sweep(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            CLOCK.tick()
            now = clock()
            # One pass over all connections costs less than a timer for every request.
            for connection in list(self._connections):
                if 0.0 < connection.deadline < now:
                    connection.on_deadline()

    def stop_listening(self) -> None:
        """Accept no more connections and requests; requests already read get responses."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.drain()

    async def wait_closed(self, timeout_s: float) -> bool:
        """Wait until every connection has closed; False when some had to be cut."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while self._connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        finished = not self._connections
        for connection in list(self._connections):
            connection.transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        return finished


class _OverLimit(asyncio.Protocol):
    """A connection past the limit."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
