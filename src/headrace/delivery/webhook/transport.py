"""Sends a delivery as a signed HTTP request."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import aiohttp
from yarl import URL

from headrace import __version__
from headrace.delivery.contract import (
    Answer,
    AttemptOutcome,
    Delivered,
    Delivery,
    Failed,
    WebhookTarget,
)
from headrace.delivery.excerpt import EXCERPT_BYTES_MAX, safe_excerpt
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.body import webhook_body
from headrace.delivery.webhook.classify import cause_of_status, error_of, message_of_status
from headrace.delivery.webhook.guard import check_url
from headrace.delivery.webhook.resolver import (
    CheckedResolver,
    Resolve,
    SystemResolve,
    guarded_socket_factory,
)
from headrace.delivery.webhook.signing import signature_headers
from headrace.domain import timestamps
from headrace.domain.retry import parse_retry_after

_READ_BYTES = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookLimits:
    """Everything about a call that can grow."""

    #: From the look-up of the name to the last byte of the answer.
    deadline_s: float = 15.0
    answer_bytes_max: int = 65_536
    #: Longest status line and longest header of an answer.
    header_line_bytes_max: int = 8_190
    headers_max: int = 64
    #: Calls on their way at a time; a further one waits, and its deadline has not begun.
    connections_max: int = 256


class WebhookTransport:
    """Calls endpoints and reads what they say. Made and closed inside a running event loop.

    Connections are not kept: each call resolves, checks and connects for itself (a checked
    look-up is remembered for a few seconds), and no endpoint can leave bytes behind for the next
    call to the same host, which may be another project's.

    Args:
        allowed: networks that the operator allows.
        limits: bounds of each call.
        resolve: resolves names; the system's resolver by default.
        clock_us: wall clock, for signatures and for dates in `Retry-After`.
        tls: checks certificates; the system's authorities by default.
    """

    def __init__(
        self,
        *,
        allowed: tuple[Network, ...] = (),
        limits: WebhookLimits | None = None,
        resolve: Resolve | None = None,
        clock_us: Callable[[], int] = timestamps.now_us,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed = allowed
        self._limits = limits or WebhookLimits()
        self._clock_us = clock_us
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(self._limits.connections_max)
        self._session = self._open_session(resolve or SystemResolve(), tls)

    def _open_session(self, resolve: Resolve, tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(resolve, self._allowed),
            socket_factory=guarded_socket_factory(self._allowed),
            ssl=True if tls is None else tls,
            limit=limits.connections_max,
            force_close=True,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            # One deadline for the whole call is set around it, so the library needs none.
            timeout=aiohttp.ClientTimeout(total=None),
            read_bufsize=_READ_BYTES,
            max_line_size=limits.header_line_bytes_max,
            max_field_size=limits.header_line_bytes_max,
            max_headers=limits.headers_max,
            headers={"User-Agent": f"Headrace/{__version__}"},
        )

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one call; see `headrace.delivery.contract.Transport`."""
        async with self._slots:
            began_ns = time.perf_counter_ns()
            try:
                answer, retry_after_s = await self._call(delivery)
            except Exception as error:  # noqa: BLE001 - the contract: every end is an outcome
                failure = error_of(error)
                return Failed(
                    cause=failure.cause,
                    message=str(failure),
                    duration_us=_elapsed_us(began_ns),
                )
            duration_us = _elapsed_us(began_ns)
        cause = cause_of_status(answer.http_status)
        if cause is None:
            return Delivered(duration_us=duration_us, answer=answer)
        return Failed(
            cause=cause,
            message=message_of_status(cause, answer.http_status),
            duration_us=duration_us,
            answer=answer,
            retry_after_s=None if cause.permanent else retry_after_s,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _call(self, delivery: Delivery) -> tuple[Answer, float | None]:
        target = delivery.target
        if not isinstance(target, WebhookTarget):
            raise TypeError("a webhook transport needs a webhook's target")
        url = check_url(target.url, self._allowed)
        body = webhook_body(delivery.event)
        headers = {
            "Content-Type": "application/json",
            # What is shown of the answer shall be readable, and it is never decompressed here.
            "Accept-Encoding": "identity",
            **signature_headers(delivery.id, body, target.secrets, self._clock_us()),
        }
        deadline_s = self._loop.time() + self._limits.deadline_s
        async with asyncio.timeout_at(deadline_s):
            response = await self._session.post(
                URL(url.text, encoded=True), data=body, headers=headers, allow_redirects=False
            )
        try:
            excerpt = await self._read_excerpt(response, deadline_s)
        finally:
            # Closes the socket, however much the endpoint still wants to send.
            response.close()
        answer = Answer(http_status=response.status, excerpt=excerpt)
        retry_after = response.headers.get("Retry-After")
        if retry_after is None:
            return answer, None
        return answer, parse_retry_after(retry_after, self._clock_us())

    async def _read_excerpt(self, response: aiohttp.ClientResponse, deadline_s: float) -> str:
        """Read the body to its limit and keep the beginning.

        The status has decided already: an endpoint that took the event and then drips, resets or
        floods its answer did take it, and sending it again would only make a repeat.
        """
        kept = bytearray()
        read_bytes = 0
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout_at(deadline_s):
                async for chunk in response.content.iter_any():
                    kept += chunk[: EXCERPT_BYTES_MAX - len(kept)]
                    read_bytes += len(chunk)
                    if read_bytes >= self._limits.answer_bytes_max:
                        break
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            return "(compressed although not asked for; not shown)"
        return safe_excerpt(bytes(kept))


def _elapsed_us(began_ns: int) -> int:
    # Not the loop's clock: uvloop's only knows milliseconds.
    return (time.perf_counter_ns() - began_ns) // 1000
