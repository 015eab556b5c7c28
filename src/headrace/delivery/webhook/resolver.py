"""Resolves names of webhooks to addresses that may be called.

The first of two checks: `headrace.delivery.webhook.connection` checks the exact address it connects
to, which also covers hosts that are written as an address.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.threads import start_in_thread
from headrace.delivery.webhook.addresses import Address, Network
from headrace.delivery.webhook.guard import AddressRefusedError, WebhookUrl, check_address

#: Addresses of one name that are checked; a real name has a handful.
_ADDRESSES_MAX = 32
#: Concurrent lookups; further ones wait, within the deadline of their call.
_THREADS_MAX = 64
#: Names in the cache, and for how long.
_NAMES_MAX = 1024
_REMEMBERED_S = 10.0

#: Resolves a name to addresses as text. Raises OSError when there are none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class SystemResolve:
    """Uses the system's resolver, in threads of its own.

    A name server that does not respond blocks its thread for many seconds, so neither the event
    loop's executor nor the end of the process may have to wait for one.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_THREADS_MAX)

    async def __call__(self, host: str, port: int) -> list[str]:
        await self._free.acquire()
        try:
            lookup = start_in_thread(lambda: _getaddrinfo(host, port), f"dns {host}")
        except BaseException:
            self._free.release()
            raise
        lookup.add_done_callback(lambda _: self._free.release())
        # Shielded: a cancelled lookup still occupies its thread until it ends.
        finished = await asyncio.shield(lookup)
        if finished.error is not None:
            raise finished.error
        return finished.value or []


def _getaddrinfo(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG | socket.AI_NUMERICSERV
    )
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def checked_addresses(
    url_host: str, port: int, resolve: Resolve, allowed: tuple[Network, ...]
) -> list[Address]:
    """Resolve a name and keep the addresses that may be called, in the resolver's order.

    Rejected ones are left out and the rest is used: `localhost` is both 127.0.0.1 and ::1, and an
    operator may have allowed only one.

    Raises:
        AddressRefusedError: none may be called.
        DeliveryError: the name does not resolve.
    """
    try:
        found = list(await resolve(url_host, port))[:_ADDRESSES_MAX]
    except (OSError, UnicodeError) as error:
        raise DeliveryError(
            FailureCause.NAME_NOT_RESOLVED, f"{url_host} does not resolve: {_reason(error)}"
        ) from error
    kept: list[Address] = []
    blocked: AddressRefusedError | None = None
    for text in found:
        try:
            address = ip_address(text)
            check_address(address, allowed)
        except AddressRefusedError as error:
            blocked = blocked or error
        except ValueError:
            blocked = blocked or AddressRefusedError(f"{url_host} resolves to no address")
        else:
            kept.append(address)
    if kept:
        return kept
    if blocked is None:
        raise DeliveryError(FailureCause.NAME_NOT_RESOLVED, f"{url_host} has no address")
    raise AddressRefusedError(f"{url_host} resolves to {blocked}") from blocked


async def check_target(
    url: WebhookUrl, resolve: Resolve, allowed: tuple[Network, ...], timeout_s: float = 3.0
) -> None:
    """Check the current addresses of a URL, before it is saved.

    A name that does not resolve, or not in time, is accepted: it may be created later, and every
    call checks again.

    Raises:
        AddressRefusedError: it has only addresses that must not be called.
    """
    if url.address is not None:
        check_address(url.address, allowed)
        return
    try:
        async with asyncio.timeout(timeout_s):
            await checked_addresses(url.host, url.port, resolve, allowed)
    except AddressRefusedError:
        raise
    except (DeliveryError, TimeoutError):
        return


class CheckedNames:
    """Checked addresses, cached for a few seconds.

    They are checked again when connecting, so the cache opens no gap.
    """

    def __init__(self, resolve: Resolve, allowed: tuple[Network, ...]) -> None:
        self._resolve = resolve
        self._allowed = allowed
        self._loop = asyncio.get_running_loop()
        #: Until when (time of the loop) a name's addresses are used, oldest first.
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}

    async def addresses(self, url: WebhookUrl) -> list[Address]:
        """Addresses to connect to; the host itself when it is an address.

        Raises:
            AddressRefusedError: no address of the name may be called.
            DeliveryError: the name does not resolve.
        """
        if url.address is not None:
            return [url.address]
        key = (url.host, url.port)
        until_s, found = self._known.get(key, (0.0, []))
        if self._loop.time() < until_s:
            return found
        found = await checked_addresses(url.host, url.port, self._resolve, self._allowed)
        self._known.pop(key, None)
        self._known[key] = (self._loop.time() + _REMEMBERED_S, found)
        if len(self._known) > _NAMES_MAX:
            del self._known[next(iter(self._known))]
        return found


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:100]
