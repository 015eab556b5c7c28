"""Attempts in flight: begun, ended, lost, cut short."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import structlog

from headrace.delivery.contract import (
    AttemptOutcome,
    Delivery,
    Failed,
    FailureCause,
    HandlerTarget,
    Isolation,
    Transport,
)
from headrace.domain.deliveries.breaker import Permit
from headrace.observability.events import LOOP_FAILED
from headrace.pipeline.delivering.results import Ended
from headrace.store.contract.deliveries import ClaimedDelivery

_log = structlog.get_logger()


class Flight:
    """One attempt and the task that makes it."""

    __slots__ = ("began_us", "claimed", "isolation", "permit", "task")

    def __init__(
        self, claimed: ClaimedDelivery, permit: Permit, isolation: Isolation, began_us: int
    ) -> None:
        self.claimed = claimed
        self.permit = permit
        self.isolation = isolation
        self.began_us = began_us
        self.task: asyncio.Task[None] | None = None


class InFlight:
    """Runs attempts; ended ones wait in `ended` until they are recorded.

    Callers bound their number: an ended attempt counts as in flight until `settle`.
    """

    def __init__(
        self,
        webhooks: Transport,
        handlers: Transport,
        clock_us: Callable[[], int],
        on_ended: Callable[[], None],
    ) -> None:
        self._webhooks = webhooks
        self._handlers = handlers
        self._clock_us = clock_us
        self._on_ended = on_ended
        self._flights: dict[int, Flight] = {}
        self.ended: deque[Ended] = deque()

    def __len__(self) -> int:
        return len(self._flights)

    def begin(
        self, claimed: ClaimedDelivery, permit: Permit, isolation: Isolation
    ) -> ClaimedDelivery | None:
        """Begin an attempt.

        Returns:
            An older claim of the same delivery, now abandoned: its lease expired unnoticed and this
            process claimed the delivery again.
        """
        stale = self._flights.pop(claimed.number, None)
        if stale is not None and stale.task is not None:
            stale.task.cancel()
            self._forget_ended({claimed.number})
        flight = Flight(claimed, permit, isolation, self._clock_us())
        self._flights[claimed.number] = flight
        flight.task = asyncio.create_task(self._attempt(flight), name=f"delivery {claimed.id}")
        return None if stale is None else stale.claimed

    async def _attempt(self, flight: Flight) -> None:
        outcome = await self._outcome(flight.claimed, flight.isolation)
        if self._flights.get(flight.claimed.number) is flight:
            self.ended.append(Ended(flight.claimed, flight.permit, flight.began_us, outcome))
            self._on_ended()

    async def _outcome(self, claimed: ClaimedDelivery, isolation: Isolation) -> AttemptOutcome:
        handler = isinstance(claimed.target, HandlerTarget)
        transport = self._handlers if handler else self._webhooks
        delivery = Delivery(
            id=claimed.id,
            attempt=claimed.attempt,
            event=claimed.event,
            target=claimed.target,
            isolation=isolation,
        )
        try:
            return await transport.attempt(delivery)
        except Exception as error:  # noqa: BLE001 - a broken contract costs one attempt
            _log.exception(LOOP_FAILED, loop="delivery", delivery=claimed.id)
            message = f"internal error during the attempt: {type(error).__name__}"
            return Failed(cause=FailureCause.INTERNAL, message=message, duration_us=0)

    def settle(self, ended: Iterable[Ended]) -> list[ClaimedDelivery]:
        """Forget recorded attempts; returns their claims."""
        settled = []
        for one in ended:
            flight = self._flights.get(one.claimed.number)
            if flight is not None and flight.claimed is one.claimed:
                del self._flights[one.claimed.number]
                settled.append(one.claimed)
        return settled

    def claims(self) -> list[ClaimedDelivery]:
        """Claims that are held now."""
        return [flight.claimed for flight in self._flights.values()]

    def give_up(self, numbers: Sequence[int]) -> list[Flight]:
        """Cut short the attempts of claims that are lost or to be released."""
        given_up = [self._flights.pop(number) for number in numbers if number in self._flights]
        for flight in given_up:
            if flight.task is not None:
                flight.task.cancel()
        self._forget_ended({flight.claimed.number for flight in given_up})
        return given_up

    def _forget_ended(self, numbers: set[int]) -> None:
        self.ended = deque(one for one in self.ended if one.claimed.number not in numbers)

    async def wait(self, timeout_s: float) -> None:
        """Wait until nothing is in flight, or for the timeout."""
        tasks = [flight.task for flight in self._flights.values() if flight.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
