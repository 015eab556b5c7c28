"""Calling Python handlers: outcomes, and isolation from each other."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from headrace.delivery.contract import AttemptOutcome, Delivered, Failed, FailureCause
from headrace.delivery.handlers import (
    Event,
    HandlerLimits,
    HandlerRegistry,
    HandlerTransport,
    Permanent,
)
from tests.delivery.samples import DELIVERY_ID, EVENT, call, event, webhook

pytestmark = pytest.mark.anyio

SHORT = HandlerLimits(deadline_s=0.2, calls_max=2, overdue_max=2, close_grace_s=5.0)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError


async def outcome_of(
    function: Callable[[Event], Any], limits: HandlerLimits | None = None
) -> AttemptOutcome:
    registry = HandlerRegistry()
    registry.on("*", name="it")(function)
    transport = HandlerTransport(registry, limits)
    try:
        return await transport.attempt(call("it", attempt=3))
    finally:
        await transport.close()


def as_async(function: Callable[[Event], Any]) -> Callable[[Event], Any]:
    async def run(event: Event) -> None:
        await asyncio.to_thread(lambda: None)
        function(event)

    return run


KINDS = pytest.mark.parametrize("kind", [lambda f: f, as_async], ids=["sync", "async"])


def raising(error: BaseException) -> Callable[[Event], None]:
    def run(_event: Event) -> None:
        raise error

    return run


@KINDS
async def test_a_handler_gets_the_event(kind: Callable[..., Any]) -> None:
    seen: list[Event] = []
    outcome = await outcome_of(kind(seen.append))
    assert isinstance(outcome, Delivered)
    assert outcome.response is None
    (got,) = seen
    assert got.id == UUID(bytes=EVENT.id)
    assert got.event == "order.completed"
    assert got.contact_id == UUID("c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10")
    assert (got.external_id, got.email) == ("customer-7", "MIKE@X.ORG")
    assert got.payload_text == EVENT.payload
    assert got.occurred_at == datetime(2026, 6, 8, 14, 15, 0, 123456, tzinfo=UTC)
    assert got.received_at == datetime(2026, 6, 8, 14, 15, 1, tzinfo=UTC)
    assert (got.source, got.idempotency_key) == ("api", "order-7")
    assert (got.delivery_id, got.attempt) == (UUID(DELIVERY_ID), 3)


async def test_payload_is_decoded_on_access() -> None:
    seen: list[Event] = []
    registry = HandlerRegistry()
    registry.on("*", name="it")(seen.append)
    transport = HandlerTransport(registry)
    await transport.attempt(call("it", of=event(payload='{"total": 12.50}')))
    await transport.attempt(call("it", of=EVENT))
    assert seen[0].payload == {"total": 12.5}
    assert seen[0].payload is seen[0].payload
    with pytest.raises(AttributeError):
        seen[0].event = "other"  # type: ignore[misc]
    # A number beyond a double fails only when the handler reads the payload.
    with pytest.raises(ValueError, match="out of range"):
        seen[1].payload  # noqa: B018 - reading it is the test
    await transport.close()


@KINDS
@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (ValueError("no such order"), FailureCause.HANDLER_RAISED, "ValueError: no such order"),
        (KeyError(), FailureCause.HANDLER_RAISED, "KeyError"),
        (TimeoutError("database"), FailureCause.HANDLER_RAISED, "TimeoutError: database"),
        (Permanent("no address"), FailureCause.HANDLER_PERMANENT, "no address"),
        (Permanent(), FailureCause.HANDLER_PERMANENT, "Permanent"),
        (SystemExit(3), FailureCause.HANDLER_RAISED, "SystemExit: 3"),
        (KeyboardInterrupt(), FailureCause.HANDLER_RAISED, "KeyboardInterrupt"),
        (StopIteration(), FailureCause.HANDLER_RAISED, None),
        (asyncio.CancelledError(), FailureCause.HANDLER_RAISED, "the handler cancelled itself"),
        (Unprintable(), FailureCause.HANDLER_RAISED, "Unprintable"),
    ],
)
async def test_exception_of_a_handler_is_an_outcome(
    kind: Callable[..., Any], error: BaseException, cause: FailureCause, message: str | None
) -> None:
    outcome = await outcome_of(kind(raising(error)))
    assert isinstance(outcome, Failed)
    assert outcome.cause is cause
    assert outcome.permanent == (cause is FailureCause.HANDLER_PERMANENT)
    assert message is None or outcome.message == message


async def test_a_message_is_shortened_and_sanitized() -> None:
    outcome = await outcome_of(raising(ValueError("\x1b[2J" + "x" * 5000)))
    assert isinstance(outcome, Failed)
    assert len(outcome.message) < 1100
    assert "\x1b" not in outcome.message


async def test_sync_handler_that_returns_a_coroutine_fails() -> None:
    async def inner() -> None:
        pass

    outcome = await outcome_of(lambda _event: inner())
    assert isinstance(outcome, Failed)
    assert "async def" in outcome.message


async def test_unknown_handler_is_retried() -> None:
    transport = HandlerTransport(HandlerRegistry())
    outcome = await transport.attempt(call("gone"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.HANDLER_MISSING
    assert not outcome.permanent


async def test_target_of_another_kind_is_an_internal_error() -> None:
    outcome = await HandlerTransport(HandlerRegistry()).attempt(webhook("http://127.0.0.1/"))
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.INTERNAL


def blocking(release: threading.Event) -> Callable[[Event], None]:
    def run(_event: Event) -> None:
        release.wait(30)

    return run


def blocking_loop(release: threading.Event) -> Callable[[Event], Any]:
    async def run(_event: Event) -> None:
        release.wait(30)  # blocks the whole loop, like a careless handler

    return run


def never_cancelled(release: threading.Event) -> Callable[[Event], Any]:
    async def run(_event: Event) -> None:
        while not release.is_set():
            try:
                await asyncio.to_thread(release.wait, 30)
            except asyncio.CancelledError:
                continue

    return run


@pytest.mark.parametrize("make", [blocking, blocking_loop, never_cancelled])
async def test_handler_past_its_deadline_blocks_no_other(
    make: Callable[[threading.Event], Callable[[Event], Any]],
) -> None:
    release = threading.Event()
    registry = HandlerRegistry()
    registry.on("*", name="stuck")(make(release))
    registry.on("*", name="sync")(lambda _event: None)
    registry.on("*", name="async")(as_async(lambda _event: None))
    transport = HandlerTransport(registry, SHORT)
    began = time.monotonic()
    stuck = [asyncio.create_task(transport.attempt(call("stuck"))) for _ in range(6)]
    for _ in range(10):
        assert isinstance(await transport.attempt(call("sync")), Delivered)
        assert isinstance(await transport.attempt(call("async")), Delivered)
    causes = [
        outcome.cause for outcome in await asyncio.gather(*stuck) if isinstance(outcome, Failed)
    ]
    assert time.monotonic() - began < 10
    # Two slots; once two calls are overdue, the others do not start. Between the ends of the first
    # two, a third may get the slot of one: so many threads are allowed.
    overdue = causes.count(FailureCause.DEADLINE_EXCEEDED)
    assert SHORT.overdue_max <= overdue < SHORT.overdue_max + SHORT.calls_max
    assert causes.count(FailureCause.HANDLER_STUCK) == len(stuck) - overdue
    release.set()
    await answers_again(transport)
    await transport.close()


async def answers_again(transport: HandlerTransport) -> None:
    async with asyncio.timeout(10):
        while isinstance(await transport.attempt(call("stuck")), Failed):
            await asyncio.to_thread(lambda: None)


async def test_a_coroutine_past_its_deadline_is_cancelled() -> None:
    cancelled = threading.Event()

    async def patient(_event: Event) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    outcome = await outcome_of(patient, SHORT)
    assert isinstance(outcome, Failed)
    assert outcome.cause is FailureCause.DEADLINE_EXCEEDED
    assert "0.2 seconds" in outcome.message
    assert await asyncio.to_thread(cancelled.wait, 5)


async def test_a_cancelled_attempt_cancels_its_coroutine() -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def patient(_event: Event) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    registry = HandlerRegistry()
    registry.on("*", name="it")(patient)
    transport = HandlerTransport(registry)
    attempt = asyncio.create_task(transport.attempt(call("it")))
    assert await asyncio.to_thread(started.wait, 5)
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert await asyncio.to_thread(cancelled.wait, 5)
    await transport.close()


async def test_closing_does_not_wait_for_a_blocked_thread() -> None:
    release = threading.Event()
    registry = HandlerRegistry()
    registry.on("*", name="it")(blocking_loop(release))
    limits = HandlerLimits(deadline_s=0.1, close_grace_s=0.1)
    transport = HandlerTransport(registry, limits)
    await transport.attempt(call("it"))
    began = time.monotonic()
    await transport.close()
    assert time.monotonic() - began < 5
    assert all(thread.daemon for thread in threading.enumerate() if "handler it" in thread.name)
    release.set()


async def test_handlers_run_outside_the_thread_of_the_server() -> None:
    threads: list[threading.Thread] = []
    await outcome_of(lambda _event: threads.append(threading.current_thread()))
    await outcome_of(as_async(lambda _event: threads.append(threading.current_thread())))
    assert len(threads) == 2
    assert threading.current_thread() not in threads
