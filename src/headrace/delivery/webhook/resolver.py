"""Resolves names of webhooks and lets through only addresses that may be called.

Two walls, because aiohttp asks a resolver for names only: `CheckedResolver` checks what a name
resolves to, and `guarded_socket_factory` checks the very address that a socket is made for,
which also covers hosts that are written as an address.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.threads import start_in_thread
from headrace.delivery.webhook.addresses import Address, Network
from headrace.delivery.webhook.guard import AddressRefusedError, WebhookUrl, check_address

#: Addresses of one name that are looked at; a real name has a handful.
_ADDRESSES_MAX = 32
#: Look-ups at a time; further ones wait, within the deadline of their call.
_THREADS_MAX = 64

#: Resolves a name to addresses as text. Raises OSError when there are none.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class SystemResolve:
    """Asks the system's resolver, in threads of its own.

    A name server that does not answer keeps its thread for many seconds, so neither the event
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
        # Shielded: a look-up that nobody waits for any more still holds its thread until it ends.
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

    Refused ones are left out and the rest is used: `localhost` is both 127.0.0.1 and ::1, and an
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
    refused: AddressRefusedError | None = None
    for text in found:
        try:
            address = ip_address(text)
            check_address(address, allowed)
        except AddressRefusedError as error:
            refused = refused or error
        except ValueError:
            refused = refused or AddressRefusedError(f"{url_host} resolves to no address")
        else:
            kept.append(address)
    if kept:
        return kept
    if refused is None:
        raise DeliveryError(FailureCause.NAME_NOT_RESOLVED, f"{url_host} has no address")
    raise AddressRefusedError(f"{url_host} resolves to {refused}") from refused


async def check_target(
    url: WebhookUrl, resolve: Resolve, allowed: tuple[Network, ...], timeout_s: float = 3.0
) -> None:
    """Check what a URL points at now, before it is saved.

    A name that does not resolve, or not in time, is let through: it may be made later, and every
    call checks again.

    Raises:
        AddressRefusedError: it points only at addresses that must not be called.
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


class CheckedResolver(AbstractResolver):
    """Gives aiohttp only addresses that passed, so that it connects to what was checked."""

    def __init__(self, resolve: Resolve, allowed: tuple[Network, ...]) -> None:
        self._resolve = resolve
        self._allowed = allowed

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp's signature
    ) -> list[ResolveResult]:
        addresses = await checked_addresses(host, port, self._resolve, self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing to let go of: the resolve function belongs to who passed it."""


def guarded_socket_factory(
    allowed: tuple[Network, ...],
) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Make sockets only for addresses that may be called: the last wall before the network."""

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, target = info
        check_address(ip_address(target[0]), allowed)
        return socket.socket(family, kind, protocol)

    return make_socket


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:100]
