"""Connections to push services, kept open between pushes.

A service gets thousands of pushes, and a new connection for each would cost it and this process a
TLS handshake. Every connection passes the same checks of addresses as those of webhooks. A
connection is used by one push at a time, and only again if its last response was read to the end.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from dataclasses import dataclass

from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.connection import Connection, connect, default_tls
from headrace.delivery.webhook.guard import WebhookUrl
from headrace.delivery.webhook.resolver import CheckedNames, Resolve, SystemResolve

#: Idle connections of all services together.
IDLE_MAX = 64
#: Services close idle connections themselves, most after a minute or more.
IDLE_S = 30.0
#: Pushes over one connection, so that a change of a service's addresses is followed.
USES_MAX = 1000
#: Bytes read from one connection, TLS included.
_READ_BYTES_MAX = 8 * 1024 * 1024

Origin = tuple[str, str, int]


@dataclass(slots=True)
class Lease:
    """A connection that one push uses."""

    connection: Connection
    origin: Origin
    uses: int = 0
    #: Time of the loop.
    idle_since_s: float = 0.0

    @property
    def fresh(self) -> bool:
        """Whether nothing was sent over it yet."""
        return self.uses == 0


class Connections:
    """Idle connections of one process. Made and closed inside a running event loop.

    Args:
        allowed: networks that the operator allows.
        resolve: resolves names; the system's resolver by default.
        tls: checks certificates; the system's authorities by default.
    """

    def __init__(
        self,
        allowed: tuple[Network, ...],
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._names = CheckedNames(resolve or SystemResolve(), allowed)
        self._tls = tls or default_tls()
        self._loop = asyncio.get_running_loop()
        #: Oldest first.
        self._idle: OrderedDict[int, Lease] = OrderedDict()

    async def take(self, url: WebhookUrl, *, fresh: bool = False) -> Lease:
        """An idle connection, or a new one.

        Args:
            url: checked.
            fresh: only a new one.

        Raises:
            DeliveryError: no connection, or the address must not be called.
        """
        origin = (url.scheme, url.host, url.port)
        self._close_expired()
        if not fresh:
            # The newest: those that are not needed expire.
            for key in reversed(self._idle):
                if self._idle[key].origin == origin:
                    return self._idle.pop(key)
        addresses = await self._names.addresses(url)
        sock = await connect(addresses, url.port, self._allowed)
        connection = Connection(sock, _READ_BYTES_MAX)
        try:
            if url.scheme == "https":
                await connection.start_tls(self._tls, url)
        except BaseException:
            connection.close()
            raise
        return Lease(connection, origin)

    def give_back(self, lease: Lease, *, reusable: bool) -> None:
        """Keep a connection for the next push, or close it."""
        lease.uses += 1
        if not reusable or lease.uses >= USES_MAX:
            lease.connection.close()
            return
        lease.idle_since_s = self._loop.time()
        self._idle[id(lease)] = lease
        if len(self._idle) > IDLE_MAX:
            _, oldest = self._idle.popitem(last=False)
            oldest.connection.close()

    def _close_expired(self) -> None:
        since_s = self._loop.time() - IDLE_S
        while self._idle:
            key = next(iter(self._idle))
            if self._idle[key].idle_since_s > since_s:
                return
            self._idle.pop(key).connection.close()

    def close(self) -> None:
        """Close all idle connections."""
        while self._idle:
            _, lease = self._idle.popitem()
            lease.connection.close()
