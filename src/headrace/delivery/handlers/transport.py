"""Calls a Python handler for a delivery.

A sync handler runs in a daemon thread made for the call, an async one on the event loop of that
handler, in a thread of its own. When a handler exceeds its deadline:

1. The attempt ends as `deadline_exceeded`, and the delivery is retried later.
2. A coroutine is cancelled. A sync function cannot be stopped in Python: its thread runs until the
function returns, and its result or exception is ignored.
3. Until then the call counts as overdue. While a handler has `overdue_max` overdue calls, further
   attempts fail at once as `handler_stuck`, so its threads are bounded by
   `calls_max + overdue_max`.
4. Nothing else waits: each handler has its own slots, threads and loop. The process ends without
waiting for remaining threads.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivered,
    Delivery,
    DeliveryError,
    Failed,
    FailureCause,
    HandlerTarget,
)
from headrace.delivery.excerpt import safe_text
from headrace.delivery.handlers.event import Event, event_of
from headrace.delivery.handlers.loop import HandlerLoop, RunningCall
from headrace.delivery.handlers.registry import Handler, HandlerRegistry, Permanent
from headrace.delivery.threads import Finished, start_in_thread


@dataclass(frozen=True, kw_only=True, slots=True)
class HandlerLimits:
    """Bounds of each handler."""

    deadline_s: float = 30.0
    #: Concurrent calls of one handler; a further one waits, before its deadline begins.
    calls_max: int = 8
    #: Calls past their deadline that may still run before the handler counts as stuck.
    overdue_max: int = 8
    #: Time for coroutines to end at shutdown, for all handlers together.
    close_grace_s: float = 1.0


class _HandlerSlots:
    """Slots and loop of one handler."""

    def __init__(self, limits: HandlerLimits) -> None:
        self.slots = asyncio.Semaphore(limits.calls_max)
        self.overdue = 0
        self.loop: HandlerLoop | None = None

    def start(self, name: str, call: Callable[[], Awaitable[None]]) -> RunningCall:
        """Start a coroutine, on a new loop if the handler has closed or broken the last one."""
        if self.loop is not None and not self.loop.ended:
            with suppress(RuntimeError):
                return self.loop.start(call)
        self.loop = HandlerLoop(name)
        return self.loop.start(call)

    def returned(self, _: asyncio.Future[Finished[None]]) -> None:
        self.overdue -= 1


class HandlerTransport:
    """Calls handlers by name. Made and closed inside a running event loop."""

    def __init__(self, registry: HandlerRegistry, limits: HandlerLimits | None = None) -> None:
        self._registry = registry
        self._limits = limits or HandlerLimits()
        self._lanes: dict[str, _HandlerSlots] = {}

    async def attempt(self, delivery: Delivery) -> AttemptOutcome:
        """Make one call; see `headrace.delivery.contract.Transport`."""
        began_ns = time.perf_counter_ns()
        try:
            handler = self._find(delivery)
            lane = self._lanes.setdefault(handler.name, _HandlerSlots(self._limits))
            async with lane.slots:
                began_ns = time.perf_counter_ns()
                ended = await self._call(handler, lane, event_of(delivery))
            failure = None if ended.error is None else _error_of(ended.error)
        except DeliveryError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the contract: every end is an outcome
            failure = DeliveryError(
                FailureCause.INTERNAL, f"internal error during the attempt: {type(error).__name__}"
            )
        duration_us = (time.perf_counter_ns() - began_ns) // 1000
        if failure is None:
            return Delivered(duration_us=duration_us)
        return Failed(cause=failure.cause, message=str(failure), duration_us=duration_us)

    def stuck(self) -> list[str]:
        """Names of handlers that cannot be called now, see point 3 above."""
        most = self._limits.overdue_max
        return sorted(name for name, lane in self._lanes.items() if lane.overdue >= most)

    async def close(self) -> None:
        """Cancel coroutines and end their threads; threads of sync handlers are abandoned."""
        loops = [lane.loop for lane in self._lanes.values() if lane.loop is not None]
        await asyncio.gather(*(loop.close(self._limits.close_grace_s) for loop in loops))
        self._lanes.clear()

    def _find(self, delivery: Delivery) -> Handler:
        if not isinstance(delivery.target, HandlerTarget):
            raise TypeError("a handler transport needs a handler's target")
        handler = self._registry.get(delivery.target.name)
        if handler is None:
            raise DeliveryError(
                FailureCause.HANDLER_MISSING,
                f"no handler named {delivery.target.name} is loaded here; see --handlers",
            )
        return handler

    async def _call(self, handler: Handler, lane: _HandlerSlots, event: Event) -> Finished[None]:
        limits = self._limits
        if lane.overdue >= limits.overdue_max:
            raise DeliveryError(
                FailureCause.HANDLER_STUCK,
                f"{lane.overdue} earlier calls are past their deadline and still running",
            )
        finished, cancel = self._start(handler, lane, event)
        try:
            await asyncio.wait({finished}, timeout=limits.deadline_s)
        finally:
            # Also when this attempt is cancelled: the call itself may continue.
            if not finished.done():
                lane.overdue += 1
                finished.add_done_callback(lane.returned)
                cancel()
        if not finished.done():
            raise DeliveryError(
                FailureCause.DEADLINE_EXCEEDED,
                f"the handler did not return within {limits.deadline_s:g} seconds",
            )
        return finished.result()

    def _start(
        self, handler: Handler, lane: _HandlerSlots, event: Event
    ) -> tuple[asyncio.Future[Finished[None]], Callable[[], None]]:
        if not handler.is_async:
            finished = start_in_thread(
                lambda: _call_sync(handler, event), f"handler {handler.name}"
            )
            return finished, lambda: None
        call = cast("Callable[[Event], Awaitable[None]]", handler.function)
        running = lane.start(handler.name, lambda: call(event))
        return running.finished, running.cancel


def _call_sync(handler: Handler, event: Event) -> None:
    result = handler.function(event)
    if inspect.iscoroutine(result):
        result.close()
        message = "returned a coroutine that is not awaited; declare the handler with async def"
        raise TypeError(message)


def _error_of(error: BaseException) -> DeliveryError:
    if isinstance(error, Permanent):
        return DeliveryError(FailureCause.HANDLER_PERMANENT, _text_of(error) or "Permanent")
    if isinstance(error, asyncio.CancelledError):
        return DeliveryError(FailureCause.HANDLER_RAISED, "the handler cancelled itself")
    text = _text_of(error)
    name = type(error).__name__
    return DeliveryError(FailureCause.HANDLER_RAISED, f"{name}: {text}" if text else name)


def _text_of(error: BaseException) -> str:
    try:
        return safe_text(str(error))
    except Exception:  # noqa: BLE001 - an exception of a stranger may fail even at this
        return ""
