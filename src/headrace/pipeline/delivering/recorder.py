"""Records ended attempts with their consequences."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import structlog

from headrace.delivery.contract import Failed
from headrace.domain.access.policies import Policies
from headrace.domain.deliveries.retry import delivery_retry
from headrace.observability.events import DELIVERY_DROPPED
from headrace.pipeline.delivering.attempt_counter import AttemptCounter
from headrace.pipeline.delivering.in_flight import Flight
from headrace.pipeline.delivering.results import Ended, by_subscriber, record_of
from headrace.pipeline.delivering.state import DelivererState
from headrace.store.contract.deliveries import BreakerChange
from headrace.store.contract.errors import StoreRowError
from headrace.store.deliveries.deliveries import Deliveries

_log = structlog.get_logger()


class Recorder:
    """One transaction for a batch of attempts, with the breakers of their subscribers.

    Args:
        owner: name of this process, see `headrace.process_names`.
        policies_of: current policies of a project.
        rng: source of jitter.
    """

    def __init__(
        self,
        store: Deliveries,
        state: DelivererState,
        counter: AttemptCounter,
        *,
        owner: str,
        policies_of: Callable[[int], Policies],
        rng: random.Random,
    ) -> None:
        self._store = store
        self._state = state
        self._counter = counter
        self._owner = owner
        self._policies_of = policies_of
        self._rng = rng

    async def record(self, limit: int) -> int:
        """Record a batch of ended attempts; returns how many.

        Raises:
            StoreError: what was not recorded is kept for the next call.
        """
        ended = [*self._state.in_flight.ended][:limit]
        if not ended:
            return 0
        try:
            await self._record_batch(ended)
        except StoreRowError:
            for one in ended:
                await self._record_alone(one)
        return len(ended)

    async def _record_alone(self, one: Ended) -> None:
        try:
            await self._record_batch([one])
        except StoreRowError as error:
            # Its lease expires, and that is counted like every claim that ends badly.
            _log.error(DELIVERY_DROPPED, delivery=one.claimed.id, error=str(error))
            self._settle([one])

    async def _record_batch(self, ended: Sequence[Ended]) -> None:
        records = [
            record_of(
                one,
                delivery_retry(self._policies_of(one.claimed.project_id)),
                self._rng.random(),
            )
            for one in ended
        ]
        outcomes = by_subscriber(ended)
        changes = [
            self._state.breakers.change(name, attempts) for name, attempts in outcomes.items()
        ]
        recorded = await self._store.record(self._owner, records, changes)
        self._state.breakers.remember(changes)
        self._learn(ended, recorded.numbers)
        changed = recorded.breakers_changed
        self._state.breakers.update(changed)
        self._settle(ended)
        if changed:
            await self._change_again(
                [self._state.breakers.change(name, outcomes[name]) for name in changed]
            )

    async def _change_again(self, changes: Sequence[BreakerChange]) -> None:
        # Once only: losing the race to a third worker costs no more than a failure count.
        await self._store.record(self._owner, [], changes)

    def _learn(self, ended: Sequence[Ended], ours: frozenset[int]) -> None:
        for one in ended:
            self._counter.observe(one, ours=one.claimed.number in ours)
            self._state.suspects.ended(one.claimed, one.outcome)
            if not isinstance(one.outcome, Failed):
                self._state.scheduler.succeeded(one.claimed.subscriber_id)
            elif one.outcome.cause.subscriber_down:
                self._state.scheduler.failed(one.claimed.subscriber_id)

    def _settle(self, ended: Sequence[Ended]) -> None:
        for _ in ended:
            self._state.in_flight.ended.popleft()
        for claimed in self._state.in_flight.settle(ended):
            self._state.leave(claimed)

    async def record_cut_short(self, flights: Sequence[Flight]) -> None:
        """Return the probes of attempts that were cut short to their breakers."""
        permits = {flight.claimed.subscriber_id: flight.permit for flight in flights}
        changes = [
            self._state.breakers.change(subscriber_id, [(permit, None)])
            for subscriber_id, permit in permits.items()
            if permit.probe
        ]
        await self._store.record(self._owner, [], changes)
