"""Reads one small document from an https address, through the same address guard as webhooks."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.guard import UrlRefusedError, check_url
from headrace.version import VERSION

if TYPE_CHECKING:
    from headrace.delivery.webhook.resolver import CheckedNames, Resolve

#: From the name lookup to the end of the document.
DEADLINE_S = 10.0
#: Of the document, and of all bytes of the connection.
BYTES_MAX = 64 * 1024
_WIRE_BYTES_MAX = 256 * 1024
_HEAD_BYTES_MAX = 16 * 1024


class Fetcher:
    """Fetches documents. Redirects are not followed.

    Args:
        allowed: networks that the operator allows.
        resolve: resolves names; the system's resolver by default.
        tls: checks certificates; the system's authorities by default.
    """

    def __init__(
        self,
        allowed: tuple[Network, ...] = (),
        *,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._tls = tls
        self._names: CheckedNames | None = None

    async def fetch(self, url: str) -> bytes:
        """The body of a response with status 200.

        Raises:
            DeliveryError: there is none, or the address must not be called.
        """
        checked = check_url(url, self._allowed)
        if checked.scheme != "https":
            raise UrlRefusedError("must begin with https://")
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._exchange(url)
        except (OSError, TimeoutError) as error:
            message = f"{checked.host} did not send the document: {type(error).__name__}"
            raise DeliveryError(FailureCause.CONNECTION_LOST, message) from error
        return _body(response)

    async def _exchange(self, text: str) -> bytes:
        # Loaded when needed: they are large, and few servers fetch anything.
        from headrace.delivery.webhook.connection import (  # noqa: PLC0415
            Connection,
            connect,
            default_tls,
        )
        from headrace.delivery.webhook.resolver import CheckedNames, SystemResolve  # noqa: PLC0415

        if self._names is None:
            self._names = CheckedNames(self._resolve or SystemResolve(), self._allowed)
        url = check_url(text, self._allowed)
        request = (
            f"GET {url.target} HTTP/1.0\r\nHost: {url.authority}\r\n"
            f"User-Agent: Headrace/{VERSION}\r\nAccept-Encoding: identity\r\n"
            "Connection: close\r\n\r\n"
        ).encode("ascii")
        addresses = await self._names.addresses(url)
        sock = await connect(addresses, url.port, self._allowed)
        received = bytearray()
        with Connection(sock, _WIRE_BYTES_MAX) as connection:
            await connection.start_tls(self._tls or default_tls(), url)
            connection.send(request)
            while data := await connection.receive():
                received += data
                if len(received) > _HEAD_BYTES_MAX + BYTES_MAX:
                    raise DeliveryError(FailureCause.PROTOCOL_ERROR, "the document is too large")
        return bytes(received)


def _body(response: bytes) -> bytes:
    """The body of a response that ended with its connection."""
    head, separator, body = response.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    status = lines[0].split(b" ", 2)
    names = [line.partition(b":")[0].strip().lower() for line in lines[1:]]
    # HTTP/1.0 has no chunks; a server that sends them anyway is not read.
    if not separator or not lines[0].startswith(b"HTTP/1.") or b"transfer-encoding" in names:
        raise DeliveryError(FailureCause.PROTOCOL_ERROR, "the response cannot be read")
    if len(status) < 2 or status[1] != b"200":
        code = status[1][:3].decode("ascii", "replace") if len(status) > 1 else "none"
        raise DeliveryError(FailureCause.PROTOCOL_ERROR, f"the status is {code}")
    lengths = [
        line.partition(b":")[2].strip()
        for line, name in zip(lines[1:], names, strict=True)
        if name == b"content-length"
    ]
    if lengths and (not lengths[0].isdigit() or int(lengths[0][:12]) != len(body)):
        raise DeliveryError(FailureCause.CONNECTION_LOST, "the document was cut")
    return body
