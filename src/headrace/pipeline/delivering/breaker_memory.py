"""Breakers of subscribers with something on its way, as this worker last saw them."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from headrace.delivery.contract import AttemptOutcome
from headrace.domain.deliveries.breaker import BreakerPolicy, BreakerState, Permit
from headrace.pipeline.delivering.breakers import after_attempts, breaker_of, breaker_text
from headrace.store.contract.deliveries import BreakerChange, SubscriberQueue


class BreakerMemory:
    """What the store is asked to change, from what stood there when it was last seen.

    Another worker may have changed a breaker meanwhile: then the store says how it is, and
    `update` takes that over.

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
        """How the breaker changes by letting a delivery through, and the permit of that.

        The permit is None where nothing is let through now.
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
        """The store has taken them."""
        self._texts |= {change.subscriber_id: change.after for change in changes}

    def update(self, texts: Mapping[str, str | None]) -> None:
        """Take over what other workers have written."""
        self._texts.update(texts)

    def keep(self, subscriber_ids: Collection[str]) -> None:
        """Forget all others."""
        self._texts = {name: text for name, text in self._texts.items() if name in subscriber_ids}
