"""Receivers that are slow, broken or hostile: each call ends in time and in little memory."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import pytest

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    EndpointResponse,
    Failed,
    FailureCause,
)
from headrace.delivery.excerpt import EXCERPT_BYTES_MAX
from headrace.delivery.webhook.transport import WebhookLimits, WebhookTransport
from tests.delivery.receiver import Behaviour, Exchange, Receiver, answers, receiver, silent
from tests.delivery.samples import LOOPBACK, webhook

pytestmark = pytest.mark.anyio

DEADLINE_S = 0.4
#: Generous: a busy machine may be late, without a deadline a call would never end.
ENDED_S = 5.0
MEGABYTE = 1_000_000


async def outcome_of(behave: Behaviour, deadline_s: float = DEADLINE_S) -> AttemptOutcome:
    async with receiver(behave) as endpoint, transport(deadline_s) as webhooks:
        began = time.monotonic()
        outcome = await webhooks.attempt(webhook(endpoint.url))
        assert time.monotonic() - began < deadline_s + ENDED_S
        # A receiver that still sends is cut off and does not keep its connection.
        await asyncio.wait_for(endpoint.hung_up.acquire(), ENDED_S)
    return outcome


def transport(deadline_s: float = DEADLINE_S) -> WebhookTransport:
    return WebhookTransport(allowed=LOOPBACK, limits=WebhookLimits(deadline_s=deadline_s))


def dripping(data: bytes) -> Behaviour:
    """One byte at a time, each long before any timeout between bytes, for ever."""

    async def behave(exchange: Exchange) -> None:
        for place in range(1_000_000):
            await exchange.send(data[place : place + 1] or b"x")
            if not await exchange.pause(0.02):
                return

    return behave


def flooding(head: bytes, block: bytes, blocks: int) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(head)
        for _ in range(blocks):
            await exchange.send(block)

    return behave


async def test_receiver_that_never_responds_meets_the_deadline() -> None:
    outcome = await outcome_of(silent)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED
    assert outcome.duration_us >= DEADLINE_S * 900_000


@pytest.mark.parametrize(
    "data",
    [b"HTTP/1.1 100 OK\r\nContent-Length: 5\r\nX: ", b"HTTP/1.1 200 O"],
    ids=["in a header", "in the status line"],
)
async def test_a_dripping_head_meets_the_total_deadline(data: bytes) -> None:
    outcome = await outcome_of(dripping(data))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED
    assert outcome.duration_us >= DEADLINE_S * 900_000


async def test_dripping_header_ends_at_the_deadline_and_the_status_counts() -> None:
    async def behave(exchange: Exchange) -> None:
        # At once: byte by byte it would not arrive in time on a busy machine.
        await exchange.send(b"HTTP/1.1 200 OK\r\n")
        await dripping(b"Content-Length: 5\r\nX: ")(exchange)

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Delivered)
    assert outcome.duration_us >= DEADLINE_S * 900_000
    assert outcome.response is not None
    assert outcome.response.note == "the response did not end before the deadline"


async def test_dripping_body_ends_at_the_deadline_and_the_status_counts() -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        await dripping(b"")(exchange)

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Delivered)
    assert outcome.duration_us >= DEADLINE_S * 900_000
    assert outcome.response is not None
    assert set(outcome.response.excerpt) == {"x"}


async def test_endless_interim_responses_meet_the_deadline() -> None:
    async def behave(exchange: Exchange) -> None:
        while not exchange.writer.transport.is_closing():
            await exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await exchange.pause(0.001)

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Failed)
    assert not outcome.permanent


async def test_reset_before_the_response_is_retried() -> None:
    async def behave(exchange: Exchange) -> None:
        exchange.reset()

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.CONNECTION_LOST
    assert not outcome.permanent


async def test_reset_inside_the_body_keeps_the_status() -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        exchange.reset()

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Delivered)


async def test_close_without_a_response_is_retried() -> None:
    async def behave(_: Exchange) -> None:
        return

    outcome = await outcome_of(behave)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.CONNECTION_LOST


@pytest.mark.parametrize(
    "head",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"200 OK\r\n\r\n",
        b"HTTPS/1.1 200 OK\r\n\r\n",
        b"null HTTP/1.1 200 OK\r\n\r\n",
    ],
)
async def test_response_that_is_not_http_is_retried(head: bytes) -> None:
    outcome = await outcome_of(flooding(head, b"", 0))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.PROTOCOL_ERROR
    assert not outcome.permanent


async def test_closed_port_is_retried() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        async with transport() as webhooks:
            outcome = await webhooks.attempt(webhook(f"http://127.0.0.1:{port}/"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.CONNECT_FAILED
    assert not outcome.permanent


async def test_a_redirect_is_not_followed() -> None:
    async with receiver(answers(200)) as other:
        location = f"http://127.0.0.1:{other.port}/"
        async with (
            receiver(answers(307, b"", Location=location)) as endpoint,
            transport() as webhooks,
        ):
            outcome = await webhooks.attempt(webhook(endpoint.url))
        assert isinstance(outcome, Failed)
        assert outcome.cause is FailureCause.REDIRECTED
        assert outcome.permanent
        assert len(endpoint.requests) == 1
        assert other.requests == []


async def test_huge_response_is_read_to_its_limit_in_constant_memory() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    outcome = await in_flat_memory(outcome_of, flooding(head, b"x" * MEGABYTE, 10_000), 10)
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    assert outcome.response.excerpt == "x" * EXCERPT_BYTES_MAX


async def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50 * MEGABYTE), 9)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    outcome = await in_flat_memory(outcome_of, flooding(head, bomb, 1), 10)
    assert isinstance(outcome, Delivered)
    assert outcome.response is not None
    assert outcome.response.excerpt.startswith("(compressed")


@pytest.mark.parametrize(
    ("head", "block", "blocks"),
    [
        (b"HTTP/1.1 100 OK\r\n", b"X-Filler: " + b"a" * 4000 + b"\r\n", 2500),
        (b"HTTP/1.1 100 OK\r\nX-Filler: ", b"a" * MEGABYTE, 10),
        (b"HTTP/1.1 100 OK\r\n", b"A: b\r\n" * 1000, 2000),
        (b"HTTP/1.1 200 ", b"a" * MEGABYTE, 10),
        (b"HTTP/1.1 100 OK\r\n", b"a" * MEGABYTE, 10),
    ],
    ids=["many long", "one huge", "many short", "huge reason", "huge name"],
)
async def test_ten_megabytes_of_headers_end_the_call(
    head: bytes, block: bytes, blocks: int
) -> None:
    outcome = await in_flat_memory(outcome_of, flooding(head, block, blocks), 10)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.PROTOCOL_ERROR
    assert not outcome.permanent


@pytest.mark.parametrize(
    ("head", "block", "blocks"),
    [
        (b"", b"X-Filler: " + b"a" * 4000 + b"\r\n", 2500),
        (b"X-Filler: ", b"a" * MEGABYTE, 10),
        (b"", b"A: b\r\n" * 1000, 2000),
        (b"", b"a" * MEGABYTE, 10),
    ],
    ids=["many long", "one huge", "many short", "huge name"],
)
async def test_status_counts_before_ten_megabytes_of_headers(
    head: bytes, block: bytes, blocks: int
) -> None:
    behave = flooding(b"HTTP/1.1 200 OK\r\n" + head, block, blocks)
    outcome = await in_flat_memory(outcome_of, behave, 10)
    assert isinstance(outcome, Delivered)
    assert outcome.response == EndpointResponse(
        http_status=200, excerpt="", note="the response headers are too large"
    )


async def test_endless_trailers_end_the_call() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    outcome = await in_flat_memory(outcome_of, flooding(head, b"A: b\r\n" * 1000, 2000), 10)
    assert isinstance(outcome, Delivered)


async def test_a_chunk_of_absurd_size_is_read_to_the_limit() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF\r\n"
    outcome = await in_flat_memory(outcome_of, flooding(head, b"x" * MEGABYTE, 1000), 10)
    assert isinstance(outcome, Delivered)


async def test_control_characters_of_a_response_are_escaped() -> None:
    body = b"a\x00b\x1b[31mc\xff\xe2\x80\xae<script>\r\n"
    outcome = await outcome_of(answers(500, body))
    assert isinstance(outcome, Failed)
    assert outcome.response is not None
    assert outcome.response.excerpt == "a\ufffdb\ufffd[31mc\ufffd\ufffd<script>\n"


async def test_the_url_and_its_token_are_in_no_message() -> None:
    for behave in (answers(500), silent, flooding(b"nonsense\r\n\r\n", b"", 0)):
        outcome = await outcome_of(behave)
        assert isinstance(outcome, Failed)
        assert "token" not in outcome.message


async def test_slow_receivers_delay_no_others() -> None:
    async with (
        receiver(silent) as slow,
        receiver(answers(200)) as quick,
        transport(deadline_s=ENDED_S * 4) as webhooks,
    ):
        stuck = [asyncio.create_task(webhooks.attempt(webhook(slow.url))) for _ in range(50)]
        began = time.monotonic()
        outcomes = [await webhooks.attempt(webhook(quick.url)) for _ in range(20)]
        assert all(isinstance(outcome, Delivered) for outcome in outcomes)
        assert time.monotonic() - began < ENDED_S
        assert not any(task.done() for task in stuck)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)


async def test_a_call_that_waits_for_a_slot_does_not_use_up_its_deadline() -> None:
    limits = WebhookLimits(deadline_s=DEADLINE_S, connections_max=1)
    async with (
        receiver(silent) as slow,
        receiver(answers(200)) as quick,
        WebhookTransport(allowed=LOOPBACK, limits=limits) as webhooks,
    ):
        first = asyncio.create_task(webhooks.attempt(webhook(slow.url)))
        await _request_arrived(slow)
        outcome = await webhooks.attempt(webhook(quick.url))
        assert isinstance(outcome, Delivered)
        assert isinstance(await first, Failed)


async def _request_arrived(endpoint: Receiver) -> None:
    """Yield to the loop until there is a request."""
    async with asyncio.timeout(ENDED_S):
        while not endpoint.requests:
            await asyncio.to_thread(lambda: None)


async def in_flat_memory(
    run: Callable[[Behaviour], Awaitable[AttemptOutcome]], behave: Behaviour, megabytes_max: int
) -> AttemptOutcome:
    """Run a call and measure its peak memory, receiver included."""
    tracemalloc.start()
    try:
        outcome = await run(behave)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < megabytes_max * MEGABYTE
    return outcome
