"""Sends a delivery as a signed HTTP request."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    Delivery,
    DeliveryError,
    EndpointResponse,
    Exchange,
    Failed,
    FailureCause,
    WebhookTarget,
)
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.body import webhook_body
from headrace.delivery.webhook.classify import cause_of_status, error_of, message_of_response
from headrace.delivery.webhook.connection import Connection, connect, default_tls
from headrace.delivery.webhook.guard import WebhookUrl, check_url
from headrace.delivery.webhook.masking import masked, secrets_of
from headrace.delivery.webhook.resolver import CheckedNames, Resolve, SystemResolve
from headrace.delivery.webhook.response_reader import ResponseReader
from headrace.delivery.webhook.signing import signature_headers
from headrace.domain import timestamps
from headrace.domain.access.sealing import KeyRing, Purpose, SealedError
from headrace.domain.deliveries.body_format import BodyFormat
from headrace.domain.deliveries.own_headers import decode
from headrace.domain.deliveries.retry import parse_retry_after
from headrace.version import VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class WebhookLimits:
    """Limits of a call."""

    #: From the name lookup to the last byte of the response.
    deadline_s: float = 15.0
    #: Status line and headers, those of interim responses (1xx) included.
    head_bytes_max: int = 65_536
    #: Everything after the head.
    response_bytes_max: int = 65_536
    #: Interim responses before the final one.
    interim_max: int = 16
    #: All bytes received over the connection, TLS included.
    wire_bytes_max: int = 1_048_576
    #: Concurrent calls; a further one waits, before its deadline begins.
    connections_max: int = 256


class WebhookTransport:
    """Calls endpoints and reads their responses. Made and closed inside a running event loop.

    Connections are not reused: each call resolves, checks and connects for itself (a checked lookup
    is cached for a few seconds), and no endpoint can leave bytes behind for the next call to the
    same host, which may be another project's.

    The status line decides the outcome (docs/decisions/0010-reading-webhook-responses.md).

    Args:
        allowed: networks that the operator allows.
        limits: of each call.
        resolve: resolves names; the system's resolver by default.
        clock_us: wall clock, for signatures and for dates in `Retry-After`.
        tls: checks certificates; the system's authorities by default.
        keys: open sealed secrets.
    """

    def __init__(
        self,
        *,
        allowed: tuple[Network, ...] = (),
        limits: WebhookLimits | None = None,
        resolve: Resolve | None = None,
        clock_us: Callable[[], int] = timestamps.now_us,
        tls: ssl.SSLContext | None = None,
        keys: KeyRing | None = None,
    ) -> None:
        self._keys = keys or KeyRing()
        self._allowed = allowed
        self._limits = limits or WebhookLimits()
        self._clock_us = clock_us
        self._slots = asyncio.Semaphore(self._limits.connections_max)
        self._names = CheckedNames(resolve or SystemResolve(), allowed)
        self._tls = tls or default_tls()

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one call; see `headrace.delivery.contract.Transport`."""
        async with self._slots:
            call = _Call(self._limits)
            began_ns = time.perf_counter_ns()
            try:
                response = await self._call(delivery, call)
            except Exception as error:  # noqa: BLE001 - the contract: every end is an outcome
                failure = error_of(error)
                return Failed(
                    cause=failure.cause,
                    message=str(failure),
                    duration_us=_elapsed_us(began_ns),
                    exchange=call.exchange,
                )
            duration_us = _elapsed_us(began_ns)
        cause = cause_of_status(response.http_status)
        if cause is None:
            return Delivered(duration_us=duration_us, response=response, exchange=call.exchange)
        retry_after, retry_after_s = call.reader.retry_after, None
        if retry_after is not None and not cause.permanent:
            retry_after_s = parse_retry_after(retry_after, self._clock_us())
        return Failed(
            cause=cause,
            message=message_of_response(cause, response),
            duration_us=duration_us,
            response=response,
            retry_after_s=retry_after_s,
            exchange=call.exchange,
        )

    async def close(self) -> None:
        """Nothing to release: every call closes its own connection."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _opened(self, secret: str) -> str:
        try:
            return self._keys.open(secret, Purpose.WEBHOOK)
        except SealedError as error:
            # The operator can supply the key, so the delivery is tried again.
            raise DeliveryError(FailureCause.SECRET_SEALED, str(error)) from None

    def _own_headers(self, target: WebhookTarget) -> dict[str, str]:
        if target.header_values is None:
            return {}
        values = decode(self._opened(target.header_values))
        return dict(zip(target.header_names, values, strict=True))

    async def _call(self, delivery: Delivery, call: _Call) -> EndpointResponse:
        target = delivery.target
        if not isinstance(target, WebhookTarget):
            raise TypeError("a webhook transport needs a webhook's target")
        url = check_url(target.url, self._allowed)
        body = webhook_body(delivery.event, target.format)
        secrets = [self._opened(secret) for secret in target.secrets]
        own = self._own_headers(target)
        now_us, reader = self._clock_us(), call.reader
        signature = signature_headers(delivery.id, body, secrets, now_us)
        call.begin(now_us, own)
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                head = request_head(url, target.format, len(body), {**signature, **own})
                await self._exchange(url, head + body, reader)
        except (OSError, DeliveryError) as error:
            # An endpoint that accepted the event and then drips, resets or floods its response did
            # accept it, and sending it again would only duplicate it.
            if reader.status is None:
                raise
            reader.cut(_why_cut(error))
        if reader.status is None:
            raise _no_response(reader)
        return EndpointResponse(
            http_status=reader.status,
            excerpt=masked(reader.excerpt, call.masked, cut=reader.excerpt_is_cut),
            note=reader.note,
        )

    async def _exchange(self, url: WebhookUrl, request: bytes, reader: ResponseReader) -> None:
        addresses = await self._names.addresses(url)
        sock = await connect(addresses, url.port, self._allowed)
        with Connection(sock, self._limits.wire_bytes_max) as connection:
            if url.scheme == "https":
                await connection.start_tls(self._tls, url)
            connection.send(request)
            while not reader.finished:
                data = await connection.receive()
                if data:
                    reader.feed(data)
                else:
                    reader.closed()


class _Call:
    """One call: its response, and what is kept of it when it fails."""

    __slots__ = ("_signed_us", "masked", "reader")

    def __init__(self, limits: WebhookLimits) -> None:
        self.reader = ResponseReader(
            head_bytes_max=limits.head_bytes_max,
            body_bytes_max=limits.response_bytes_max,
            interim_max=limits.interim_max,
        )
        #: What must not be stored of the response.
        self.masked: tuple[str, ...] = ()
        self._signed_us: int | None = None

    def begin(self, now_us: int, own: dict[str, str]) -> None:
        """Record that the request is signed and about to be sent."""
        self._signed_us, self.masked = now_us, secrets_of(own.values())

    @property
    def exchange(self) -> Exchange | None:
        """None when no request was made."""
        if self._signed_us is None:
            return None
        return Exchange(
            signed_s=self._signed_us // 1_000_000,
            response_headers=masked(self.reader.header_lines, self.masked),
        )


def request_head(
    url: WebhookUrl, body_format: BodyFormat, body_bytes: int, headers: dict[str, str]
) -> bytes:
    """The request up to its body; `headers` are the signature and the owner's checked ones."""
    replaced = {name.lower() for name in headers}
    defaults = {"User-Agent": f"Headrace/{VERSION}", "Accept": "*/*"}
    headers = {
        "Host": url.authority,
        **{name: value for name, value in defaults.items() if name.lower() not in replaced},
        # The excerpt of the response must be readable, and it is never decompressed here.
        "Accept-Encoding": "identity",
        "Content-Type": body_format.content_type,
        "Content-Length": str(body_bytes),
        "Connection": "close",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {url.target} HTTP/1.1\r\n{lines}\r\n".encode("ascii")


def _why_cut(error: OSError | DeliveryError) -> str:
    if isinstance(error, TimeoutError):
        return "the response did not end before the deadline"
    return str(error_of(error))


def _no_response(reader: ResponseReader) -> DeliveryError:
    if reader.failure is not None:
        return DeliveryError(FailureCause.PROTOCOL_ERROR, reader.failure)
    message = "the connection was closed before a response arrived"
    return DeliveryError(FailureCause.CONNECTION_LOST, message)


def _elapsed_us(began_ns: int) -> int:
    # Not the loop's clock: uvloop's has only milliseconds.
    return (time.perf_counter_ns() - began_ns) // 1000
