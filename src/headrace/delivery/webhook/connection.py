"""A connection to an endpoint, with or without TLS, that reads no more than requested.

Nothing is read ahead: a read takes at most 16 KiB from the socket and yields to other tasks, and
the total of the connection has a limit, so an endpoint that sends without end only affects its own
call. TLS is done here and not by the event loop for the same reason: there, records without data
(session tickets, key updates) are not counted.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from ipaddress import IPv4Address
from typing import Self

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.webhook.addresses import Address, Network
from headrace.delivery.webhook.classify import system_message
from headrace.delivery.webhook.guard import WebhookUrl, check_address

_READ_BYTES = 16_384
#: Addresses of one name that are tried, each a socket.
_ADDRESSES_MAX = 8
#: How long an address may take before the next one is tried in parallel (RFC 8305).
_NEXT_ADDRESS_S = 0.25
#: Concurrent steps of handshakes, in threads of the process.
_HANDSHAKES_MAX = 4


@cache
def _handshakes() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_HANDSHAKES_MAX, thread_name_prefix="tls")


@cache
def default_tls() -> ssl.SSLContext:
    """Checks certificates against the system's authorities, which are slow to load."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION
    return context


async def connect(
    addresses: Sequence[Address], port: int, allowed: tuple[Network, ...]
) -> socket.socket:
    """Connect to the first address that responds: in order, or in parallel with a slow one.

    Raises:
        AddressRefusedError: an address must not be called.
        DeliveryError: none responds; the reason is that of the last one.
    """
    left = list(addresses[:_ADDRESSES_MAX])
    trying: set[asyncio.Task[socket.socket]] = set()
    reason = "no address"
    try:
        while left or trying:
            if left:
                trying.add(asyncio.create_task(_connect_one(left.pop(0), port, allowed)))
            wait_s = _NEXT_ADDRESS_S if left else None
            done, _ = await asyncio.wait(
                trying, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                trying.remove(task)
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                reason = system_message(error)
    finally:
        for task in trying:
            task.add_done_callback(_close_unused)
            task.cancel()
    raise DeliveryError(FailureCause.CONNECT_FAILED, f"no connection: {reason}")


async def _connect_one(address: Address, port: int, allowed: tuple[Network, ...]) -> socket.socket:
    # The last check before the network, also for hosts that are written as an address.
    check_address(address, allowed)
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        sock.close()
        raise
    return sock


def _close_unused(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class Connection:
    """An open connection, used by one call.

    Args:
        sock: connected and not blocking; closed with the connection.
        bytes_max: most bytes read from the socket, TLS included.
    """

    def __init__(self, sock: socket.socket, bytes_max: int) -> None:
        self._sock = sock
        self._bytes_left = bytes_max
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._sending: asyncio.Task[None] | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()

    async def start_tls(self, context: ssl.SSLContext, url: WebhookUrl) -> None:
        """Do the TLS handshake; the certificate must be valid for the host of the URL.

        Raises:
            DeliveryError: it failed.
        """
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=url.host)
        try:
            await self._shake_hands(self._tls)
        except ssl.SSLCertVerificationError as error:
            message = "the certificate is not valid for this host"
            raise DeliveryError(FailureCause.TLS_FAILED, message) from error
        except OSError as error:
            raise DeliveryError(FailureCause.TLS_FAILED, "the TLS handshake failed") from error

    async def _shake_hands(self, tls: ssl.SSLObject) -> None:
        while True:
            try:
                # An endpoint can choose groups and keys that cost a third of a second of CPU. When
                # this is cancelled, the thread still uses the buffers: nothing else may touch them
                # then.
                await self._loop.run_in_executor(_handshakes(), tls.do_handshake)
            except ssl.SSLWantReadError:
                self._flush()
                await self._fill()
            except ssl.SSLError:
                # Send the alert with the reason.
                self._flush()
                raise
            else:
                self._flush()
                return

    def send(self, data: bytes) -> None:
        """Send in the background, since an endpoint may respond before it has read everything.

        An error shows when the response is read: there may be one although the request could not be
        sent completely.
        """
        if self._tls is None:
            self._begin_sending(data)
        else:
            self._tls.write(data)
            self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._begin_sending(self._outgoing.read())

    def _begin_sending(self, data: bytes) -> None:
        if self._sending is None or self._sending.done():
            try:
                data = data[self._sock.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return
            if data:
                self._sending = asyncio.create_task(self._send())
        self._unsent += data

    async def _send(self) -> None:
        with suppress(OSError):
            while self._unsent:
                data = bytes(self._unsent)
                self._unsent.clear()
                await self._loop.sock_sendall(self._sock, data)

    async def receive(self) -> bytes:
        """Some bytes, at most 16 KiB; none at the end of the connection.

        Raises:
            DeliveryError: the endpoint exceeded the limit.
            OSError: the connection broke, `ssl.SSLError` included.
        """
        if self._tls is None:
            return await self._read()
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._flush()
                await self._fill()
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    async def _fill(self) -> None:
        data = await self._read()
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    async def _read(self) -> bytes:
        if self._bytes_left <= 0:
            raise DeliveryError(FailureCause.PROTOCOL_ERROR, "the endpoint sent too much data")
        data = await self._loop.sock_recv(self._sock, min(_READ_BYTES, self._bytes_left))
        self._bytes_left -= len(data)
        # A socket that always has data must not starve other tasks.
        await asyncio.sleep(0)
        return data

    def close(self) -> None:
        """Close, even with data in flight."""
        if self._sending is None or self._sending.done():
            self._sock.close()
        else:
            # Only after the loop has released the socket: its number can be reused.
            self._sending.add_done_callback(lambda _: self._sock.close())
            self._sending.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
