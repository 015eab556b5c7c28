"""Deliverers with the test's own queue, real transports and a clock that the test advances."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from headrace.delivery.handlers import HandlerLimits, HandlerRegistry, HandlerTransport
from headrace.delivery.webhook.transport import WebhookLimits, WebhookTransport
from headrace.domain.access.policies import DEFAULTS, Policies
from headrace.pipeline.delivering.deliverer import (
    Deliverer,
    DelivererOptions,
    DelivererStores,
    Transports,
)
from headrace.store.contract.deliveries import LoadedHandler
from headrace.store.deliveries.deliveries import Deliveries
from tests.delivery.receiver import Receiver
from tests.delivery.samples import LOOPBACK
from tests.support.deliveries import Queue

WAIT_SECONDS_MAX = 20.0


@asynccontextmanager
async def deliverer_of(
    queue: Queue,
    *,
    owner: str = "w",
    policies: Policies = DEFAULTS,
    registry: HandlerRegistry | None = None,
    options: DelivererOptions | None = None,
    store: Deliveries | None = None,
    limits: WebhookLimits | None = None,
) -> AsyncIterator[Deliverer]:
    """A deliverer that may call loopback; its transports are closed at the end of the block."""
    queue.lives(owner)
    known = registry or HandlerRegistry()
    loaded = [LoadedHandler(handler.name, handler.patterns) for handler in known]
    handlers = HandlerTransport(known, HandlerLimits(close_grace_s=5.0))
    async with WebhookTransport(allowed=LOOPBACK, limits=limits) as webhooks:
        deliverer = Deliverer(
            DelivererStores(
                queue=store or queue.store,
                subscribers=queue.subscribers,
                counts=queue.session.store.delivery_counts,
            ),
            Transports(webhooks=webhooks, handlers=handlers, loaded=loaded),
            owner=owner,
            policies_of=lambda _: policies,
            clock_us=queue.clock,
            rng=random.Random(7),
            options=options,
        )
        try:
            yield deliverer
        finally:
            await deliverer.stop()
            await handlers.close()


async def settle(deliverer: Deliverer) -> None:
    """Step until nothing is due or in flight."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while True:
            report = await deliverer.run_once()
            await deliverer._flights.wait(WAIT_SECONDS_MAX)
            if not (report.recorded or report.begun or report.more or deliverer._flights.ended):
                return


async def step(deliverer: Deliverer) -> int:
    """Step once and wait for what it started, recorded with the next; returns how many."""
    report = await deliverer.run_once()
    await deliverer._flights.wait(WAIT_SECONDS_MAX)
    return report.begun


class Arrivals:
    """Waits for requests at receivers, without polling."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()

    async def note(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, found: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS_MAX), self._changed:
            await self._changed.wait_for(found)


def ids_of(receiver: Receiver) -> Sequence[str]:
    """The `webhook-id` of every request, in order of arrival."""
    return [request.headers["webhook-id"] for request in receiver.requests]
