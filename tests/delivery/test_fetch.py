"""Fetching a document: over TLS, from allowed addresses alone, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from headrace.delivery.contract import DeliveryError
from headrace.delivery.webhook.fetch import BYTES_MAX, Fetcher
from headrace.delivery.webhook.guard import AddressRefusedError, UrlRefusedError
from tests.delivery.mail.certificate import client_tls, server_tls

pytestmark = pytest.mark.anyio
LOOPBACK = (ip_network("127.0.0.0/8"),)


@asynccontextmanager
async def server(response: bytes) -> AsyncIterator[str]:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response)
        writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=server_tls())
    try:
        yield f"https://localhost:{listening.sockets[0].getsockname()[1]}/x.pem"
    finally:
        listening.close()


def fetcher() -> Fetcher:
    return Fetcher(LOOPBACK, tls=client_tls())


async def test_a_document_is_fetched() -> None:
    async with server(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npem") as url:
        assert await fetcher().fetch(url) == b"pem"
        with pytest.raises(AddressRefusedError):
            await Fetcher(tls=client_tls()).fetch(url)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"nothing",
        b"HTTP/1.1 404 Not Found\r\n\r\nx",
        b"HTTP/1.1 302 Found\r\nLocation: https://example.org\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npem",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npem\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 * BYTES_MAX),
    ],
)
async def test_any_other_response_is_an_error(response: bytes) -> None:
    async with server(response) as url:
        with pytest.raises(DeliveryError):
            await fetcher().fetch(url)


@pytest.mark.parametrize("url", ["http://localhost/x", "file:///etc/passwd", "https://[::1", ""])
async def test_only_https_is_fetched(url: str) -> None:
    with pytest.raises(UrlRefusedError):
        await fetcher().fetch(url)
