"""Breakers of subscribers with deliveries in flight, as this worker last read them."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from headrace.delivery.contract import AttemptOutcome
from headrace.domain.deliveries.breaker import BreakerPolicy, BreakerState, Permit
from headrace.pipeline.delivering.breakers import after_attempts, breaker_of, breaker_text
from headrace.store.contract.deliveries import BreakerChange, SubscriberQueue


class BreakerMemory:
    """Computes changes of breakers from their last known state.

    When another worker has changed a breaker meanwhile, the store returns its state, and `update`
    takes it over.

    Args:
        rng: source of jitter.
    """

    def __init__(
        self, policy: BreakerPolicy, clock_us: Callable[[], int], rng: random.Random
    ) -> None:
        self._policy = policy
        self._clock_us = clock_us
        self._rng = rng
        self._texts: dict[str, str | None] = {}

    def request(self, queue: SubscriberQueue) -> tuple[BreakerChange, Permit | None]:
        """How the breaker changes by admitting a delivery, and its permit.

        The permit is None when the breaker admits nothing now.
        """
        breaker = breaker_of(queue.breaker, self._policy)
        after, permit = breaker.request(self._clock_us())
        text = queue.breaker if breaker.state is BreakerState.CLOSED else breaker_text(after)
        return BreakerChange(queue.subscriber_id, queue.breaker, text), permit

    def change(
        self, subscriber_id: str, attempts: Sequence[tuple[Permit, AttemptOutcome | None]]
    ) -> BreakerChange:
        """How the breaker changes by attempts that have ended; an outcome of None: cut short."""
        before = self._texts.get(subscriber_id)
        breaker = after_attempts(
            breaker_of(before, self._policy), attempts, self._clock_us(), self._rng.random()
        )
        return BreakerChange(subscriber_id, before, breaker_text(breaker))

    def remember(self, changes: Iterable[BreakerChange]) -> None:
        """Note changes that the store has committed."""
        self._texts |= {change.subscriber_id: change.after for change in changes}

    def update(self, texts: Mapping[str, str | None]) -> None:
        """Take over the states that other workers have written."""
        self._texts.update(texts)

    def keep(self, subscriber_ids: Collection[str]) -> None:
        """Forget all other subscribers."""
        self._texts = {name: text for name, text in self._texts.items() if name in subscriber_ids}
