"""Sends pushes to browsers by Web Push (RFC 8030, 8291, 8292)."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from headrace.delivery.contract import DeliveryError, FailureCause
from headrace.delivery.push.connections import Connections, Lease
from headrace.delivery.push.contract import (
    BeforeHandOver,
    OutgoingPush,
    PushOutcome,
    PushTarget,
    WebPushTarget,
)
from headrace.delivery.push.encryption import (
    PayloadTooLargeError,
    SubscriptionKeysError,
    encrypt,
    read_keys,
)
from headrace.delivery.push.vapid import VapidKeyError, VapidTokens
from headrace.delivery.webhook.addresses import Network
from headrace.delivery.webhook.classify import error_of
from headrace.delivery.webhook.guard import UrlRefusedError, WebhookUrl, check_url
from headrace.delivery.webhook.resolver import Resolve
from headrace.delivery.webhook.response_reader import ResponseReader
from headrace.domain import timestamps
from headrace.domain.deliveries.retry import parse_retry_after
from headrace.domain.messages.smtp_replies import shown_text
from headrace.domain.push.hosts import PushHosts
from headrace.domain.push.outcomes import PushResult, result_of_status
from headrace.version import VERSION

#: Longest that a service must keep a push (four weeks); more is refused by large ones.
TTL_S_MAX = 2_419_200
#: Endpoints whose text was checked and is not checked again: each push asks for its service several
#: times.
CHECKED_MAX = 256
_ERRNO = re.compile(r'"errno" ?: ?([0-9]{1,6})\b')
_RESULTS = {
    FailureCause.URL_REFUSED: PushResult.ENDPOINT_REFUSED,
    FailureCause.ADDRESS_REFUSED: PushResult.ENDPOINT_REFUSED,
    FailureCause.NAME_NOT_RESOLVED: PushResult.UNREACHABLE,
    FailureCause.CONNECT_FAILED: PushResult.UNREACHABLE,
    FailureCause.TLS_FAILED: PushResult.UNREACHABLE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class WebPushLimits:
    """Limits of a push."""

    #: From the name lookup to the last byte of the response.
    deadline_s: float = 15.0
    head_bytes_max: int = 32_768
    response_bytes_max: int = 32_768
    interim_max: int = 4
    #: Concurrent pushes of one worker; after a crash at most this many are sent twice.
    connections_max: int = 32


class WebPushTransport:
    """Encrypts pushes and hands them to push services. Made and closed inside a running event loop.

    Args:
        hosts: push services that may be called.
        subject: `mailto:` or `https:` URL at which a service reaches the operator; empty: none.
        allowed: networks that the operator allows.
        limits: of each push.
        resolve: resolves names; the system's resolver by default.
        clock_us: wall clock, for tokens and for dates in `Retry-After`.
        tls: checks certificates; the system's authorities by default.
    """

    def __init__(
        self,
        hosts: PushHosts,
        *,
        subject: str = "",
        allowed: tuple[Network, ...] = (),
        limits: WebPushLimits | None = None,
        resolve: Resolve | None = None,
        clock_us: Callable[[], int] = timestamps.now_us,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._hosts = hosts
        self._allowed = allowed
        self._limits = limits or WebPushLimits()
        self._clock_us = clock_us
        self._tokens = VapidTokens(subject)
        self._connections = Connections(allowed, resolve=resolve, tls=tls)
        self._slots = asyncio.Semaphore(self._limits.connections_max)
        self._running = 0
        self._checked = lru_cache(CHECKED_MAX)(self._check)

    @property
    def free(self) -> int:
        """How many pushes it can accept at once now."""
        return self._limits.connections_max - self._running

    def service_of(self, target: PushTarget) -> str:
        """Host and port of the endpoint; empty when it may not be called."""
        try:
            if isinstance(target, WebPushTarget):
                return self._checked(target.endpoint).authority
        except DeliveryError:
            return ""
        return ""

    async def send(self, push: OutgoingPush, before_hand_over: BeforeHandOver) -> PushOutcome:
        """Make one attempt; see `headrace.delivery.push.contract.PushTransport`."""
        target = push.target
        if not isinstance(target, WebPushTarget):
            message = "only devices with Web Push can be sent to"
            return PushOutcome(result=PushResult.NOT_SUPPORTED, service="", message=message)
        began_ns = time.perf_counter_ns()
        service = self.service_of(target)
        self._running += 1
        try:
            async with self._slots:
                outcome = await self._attempt(push, target, service, before_hand_over)
        finally:
            self._running -= 1
        duration_us = (time.perf_counter_ns() - began_ns) // 1000
        return PushOutcome(
            result=outcome.result,
            service=service,
            status=outcome.status,
            code=outcome.code,
            message=outcome.message,
            retry_after_s=outcome.retry_after_s,
            duration_us=duration_us,
        )

    async def close(self) -> None:
        """Close idle connections."""
        self._connections.close()

    def _check(self, endpoint: str) -> WebhookUrl:
        """Check an endpoint by its text; its address is checked when it is connected to."""
        url = check_url(endpoint, self._allowed)
        if not self._hosts.allows(url.scheme, url.host, url.port):
            raise UrlRefusedError("is not of a known push service (HEADRACE_PUSH_HOSTS)")
        return url

    async def _attempt(
        self,
        push: OutgoingPush,
        target: WebPushTarget,
        service: str,
        before_hand_over: BeforeHandOver,
    ) -> PushOutcome:
        def ended(result: PushResult, message: str) -> PushOutcome:
            return PushOutcome(result=result, service=service, message=message)

        try:
            url = self._checked(target.endpoint)
            request = self._request(push, target, url)
        except DeliveryError as error:
            return ended(_RESULTS.get(error.cause, PushResult.UNREACHABLE), f"the endpoint {error}")
        except SubscriptionKeysError as error:
            return ended(PushResult.SUBSCRIPTION_BAD, str(error))
        except PayloadTooLargeError as error:
            return ended(PushResult.TOO_LARGE, f"the payload {error}")
        except VapidKeyError as error:
            return ended(PushResult.KEY_UNUSABLE, str(error))
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                lease = await self._connections.take(url)
        except (OSError, DeliveryError) as error:
            failure = error_of(error)
            return ended(_RESULTS.get(failure.cause, PushResult.UNREACHABLE), str(failure))
        try:
            await before_hand_over()
        except BaseException:
            self._connections.give_back(lease, reusable=True)
            raise
        outcome = await self._exchange(url, request, lease, service)
        if outcome.result is PushResult.SENDER_REFUSED:
            # Perhaps the token, by a clock that was wrong: the next push gets a new one.
            self._tokens.forget(target.vapid_key, _origin(url))
        return outcome

    def _request(self, push: OutgoingPush, target: WebPushTarget, url: WebhookUrl) -> bytes:
        now_s = self._clock_us() // 1_000_000
        token = self._tokens.header(target.vapid_key, _origin(url), now_s)
        body = encrypt(push.payload, read_keys(target.p256dh, target.auth))
        headers = {
            "Host": url.authority,
            "User-Agent": f"Headrace/{VERSION}",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "TTL": str(max(0, min(push.ttl_s, TTL_S_MAX))),
            "Urgency": push.urgency.value,
            "Topic": push.topic,
            "Authorization": token,
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "Content-Length": str(len(body)),
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"POST {url.target} HTTP/1.1\r\n{lines}\r\n".encode("ascii") + body

    async def _exchange(
        self, url: WebhookUrl, request: bytes, lease: Lease, service: str
    ) -> PushOutcome:
        """Send and read the response; once more if the service had closed an idle connection."""
        reader = self._reader()
        message = "the service did not respond"
        try:
            async with asyncio.timeout(self._limits.deadline_s):
                while True:
                    was_fresh = lease.fresh
                    try:
                        await self._send(lease, request, reader)
                    except OSError:
                        if was_fresh or reader.begun:
                            raise
                    if was_fresh or reader.begun:
                        break
                    # A repeat replaces the first, in case that was received after all.
                    self._connections.give_back(lease, reusable=False)
                    reader = self._reader()
                    lease = await self._connections.take(url, fresh=True)
        except (OSError, DeliveryError) as error:
            message = str(error_of(error))
        finally:
            self._connections.give_back(lease, reusable=reader.keeps_open)
        if reader.status is None:
            return PushOutcome(
                result=PushResult.UNKNOWN, service=service, message=reader.failure or message
            )
        return self._answered(reader, service)

    def _answered(self, reader: ResponseReader, service: str) -> PushOutcome:
        status = reader.status or 0
        result = result_of_status(status)
        retry_after_s = None
        if reader.retry_after is not None and result is not PushResult.SENT:
            retry_after_s = parse_retry_after(reader.retry_after, self._clock_us())
        return PushOutcome(
            result=result,
            service=service,
            status=status,
            code=None if result is PushResult.SENT else _code(reader.excerpt),
            message="" if result is PushResult.SENT else shown_text(reader.excerpt),
            retry_after_s=retry_after_s,
        )

    def _reader(self) -> ResponseReader:
        return ResponseReader(
            head_bytes_max=self._limits.head_bytes_max,
            body_bytes_max=self._limits.response_bytes_max,
            interim_max=self._limits.interim_max,
        )

    async def _send(self, lease: Lease, request: bytes, reader: ResponseReader) -> None:
        lease.connection.send(request)
        while not reader.finished:
            data = await lease.connection.receive()
            if data:
                reader.feed(data)
            else:
                reader.closed()


def _origin(url: WebhookUrl) -> str:
    return f"{url.scheme}://{url.authority}"


def _code(excerpt: str) -> str | None:
    """The number of an error, as autopush names it: `{"errno": 103, ...}`."""
    # Not parsed as JSON: it is the beginning of what a foreign server sent.
    match = _ERRNO.search(excerpt)
    return None if match is None else match[1]
