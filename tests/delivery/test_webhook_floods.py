"""Endpoints that send without end only affect their own call, with little memory."""

from __future__ import annotations

import asyncio
import ssl
import tracemalloc
from pathlib import Path

import pytest

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    EndpointResponse,
    Failed,
    FailureCause,
)
from headrace.delivery.webhook.transport import WebhookLimits, WebhookTransport
from tests.delivery.receiver import Exchange, answers, receiver
from tests.delivery.samples import LOOPBACK, webhook
from tests.support.raw_endpoint import raw_endpoint

pytestmark = pytest.mark.anyio

CERTIFICATE = Path(__file__).parent / "tls" / "receiver.pem"
PEAK_BYTES_MAX = 2_000_000

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"

#: A prefix, and data sent without end, in pieces of about 100 kB.
NO_ANSWER = {
    "100": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 4000),
    "101": (b"", b"HTTP/1.1 101 P\r\nUpgrade: h2c\r\n\r\n" * 3000),
    "102": (b"", b"HTTP/1.1 102 P\r\n\r\n" * 5000),
    "103": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 2500),
    "199 without a reason": (b"", b"HTTP/1.1 199\n\n" * 7000),
    "1xx with headers": (b"", (b"HTTP/1.1 110 P\r\n" + b"A: b\r\n" * 500 + b"\r\n") * 30),
    "1xx with a large header": (b"", (b"HTTP/1.1 110 P\r\nA: " + b"a" * 9000 + b"\r\n\r\n") * 10),
    "headers of one 1xx": (b"HTTP/1.1 100 Continue\r\n", b"A: b\r\n" * 16_000),
    "one header of one 1xx": (b"HTTP/1.1 100 Continue\r\nA: ", b"a" * 100_000),
    "blank lines": (b"", b"\r\n" * 50_000),
    "line feeds": (b"", b"\n" * 100_000),
    "a reason": (b"HTTP/1.1 200 ", b"a" * 100_000),
    "no HTTP": (b"", b"a" * 100_000),
    "zeros": (b"", bytes(100_000)),
}
DELIVERED = {
    "headers": (_OK, b"A: b\r\n" * 16_000),
    "header lines that are none": (_OK, b"a\n" * 50_000),
    "folded lines": (_OK, b" a\n" * 33_000),
    "lengths": (_OK, b"Content-Length: 2\r\n" * 5000),
    "one header": (_OK + b"A: ", b"a" * 100_000),
    "body": (_OK + b"\r\n", b"a" * 100_000),
    "body of a length": (_OK + b"Content-Length: 999999999999\r\n\r\n", b"a" * 100_000),
    "after the body": (_OK + b"Content-Length: 2\r\n\r\nok", _OK + b"Content-Length: 0\r\n\r\n"),
    "after 204": (b"HTTP/1.1 204 No Content\r\n\r\n", b"a" * 100_000),
    "chunks of a byte": (_CHUNKED, b"1\r\na\r\n" * 16_000),
    "chunks of a byte with extensions": (_CHUNKED, b"1;a=b\na\n" * 12_000),
    "a huge chunk": (_CHUNKED + b"FFFFFFFFFFF\r\n", b"a" * 100_000),
    "a chunk size": (_CHUNKED, b"0" * 100_000),
    "a chunk extension": (_CHUNKED + b"5;", b"a=b;" * 25_000),
    "trailers": (_CHUNKED + b"0\r\n", b"A: b\r\n" * 16_000),
    "one trailer": (_CHUNKED + b"0\r\nA: ", b"a" * 100_000),
}


async def outcome_of(head: bytes, block: bytes) -> AttemptOutcome:
    """A call with production limits; measures its peak memory."""
    with raw_endpoint(head, block) as endpoint:
        async with WebhookTransport(allowed=LOOPBACK) as webhooks:
            tracemalloc.start()
            try:
                outcome = await webhooks.attempt(webhook(endpoint.url))
                peak_bytes = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
    assert endpoint.requests == 1
    assert peak_bytes < PEAK_BYTES_MAX
    return outcome


@pytest.mark.parametrize("flood", NO_ANSWER)
async def test_a_flood_before_the_final_status_ends_the_call(flood: str) -> None:
    outcome = await outcome_of(*NO_ANSWER[flood])
    assert isinstance(outcome, Failed)
    # Not the deadline: a limit was reached.
    assert outcome.cause is FailureCause.PROTOCOL_ERROR
    assert not outcome.permanent


@pytest.mark.parametrize("flood", DELIVERED)
async def test_flood_after_the_status_ends_the_call_and_the_status_counts(flood: str) -> None:
    outcome = await outcome_of(*DELIVERED[flood])
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    assert outcome.response.note != "the response did not end before the deadline"


async def test_interim_responses_are_limited() -> None:
    interim, final = b"HTTP/1.1 102 P\r\n\r\n", _OK + b"Content-Length: 0\r\n\r\n"
    outcome = await outcome_of(interim * 16 + final, b"")
    assert isinstance(outcome, Delivered)
    outcome = await outcome_of(interim * 17 + final, b"")
    assert isinstance(outcome, Failed)
    assert outcome.message == "too many interim responses (1xx)"


@pytest.mark.parametrize(
    ("head", "block"),
    [
        *(NO_ANSWER[name] for name in ("102", "1xx with headers", "line feeds", "no HTTP")),
        *(DELIVERED[name] for name in ("headers", "body", "chunks of a byte", "trailers")),
    ],
)
async def test_flood_does_not_starve_other_tasks(head: bytes, block: bytes) -> None:
    """Without limits, so that the flood continues for as long as it is read."""
    limits = WebhookLimits(
        deadline_s=60,
        head_bytes_max=10**9,
        response_bytes_max=10**9,
        wire_bytes_max=10**9,
        interim_max=10**9,
    )
    with raw_endpoint(head, block) as hostile:
        async with (
            receiver(answers(200)) as healthy,
            WebhookTransport(allowed=LOOPBACK, limits=limits) as webhooks,
        ):
            floods = [asyncio.create_task(webhooks.attempt(webhook(hostile.url))) for _ in range(2)]
            try:
                async with asyncio.timeout(30):
                    while hostile.requests < len(floods):
                        assert isinstance(await webhooks.attempt(webhook(healthy.url)), Delivered)
                for _ in range(20):
                    assert isinstance(await webhooks.attempt(webhook(healthy.url)), Delivered)
                assert not any(flood.done() for flood in floods)
            finally:
                for flood in floods:
                    flood.cancel()
                await asyncio.gather(*floods, return_exceptions=True)


def server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, CERTIFICATE.with_suffix(".key"))
    return context


async def tls_outcome(limits: WebhookLimits) -> AttemptOutcome:
    """A call to an endpoint that sends its body without end, each byte in a record of its own."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(_OK + b"\r\n")
        while not exchange.writer.transport.is_closing():
            await exchange.send(b"a")
            await asyncio.sleep(0)

    async with (
        receiver(behave, server_tls()) as endpoint,
        WebhookTransport(
            allowed=LOOPBACK,
            limits=limits,
            resolve=_loopback,
            tls=ssl.create_default_context(cafile=CERTIFICATE),
        ) as webhooks,
    ):
        return await webhooks.attempt(webhook(f"https://receiver.test:{endpoint.port}/"))


async def _loopback(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


async def test_bytes_of_tls_are_limited() -> None:
    outcome = await tls_outcome(WebhookLimits(wire_bytes_max=20_000))
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    assert outcome.response == EndpointResponse(
        http_status=200, excerpt=outcome.response.excerpt, note="the endpoint sent too much data"
    )


async def test_bytes_of_a_handshake_are_limited() -> None:
    outcome = await tls_outcome(WebhookLimits(wire_bytes_max=500))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.PROTOCOL_ERROR
