"""Which deliveries may have crashed a process, and so how isolated a handler runs.

When a worker dies, all deliveries it held are suspects: any of them may be the cause, or none. A
suspect is retried in a process beside the worker. While a handler has suspects in flight, and for a
while after it has crashed such a process, its other deliveries run outside the worker as well: a
handler that crashes every process then costs one worker and not one for each event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headrace.delivery.contract import AttemptOutcome, Failed, FailureCause, Isolation
from headrace.store.contract.deliveries import ClaimedDelivery
from headrace.store.contract.processing import CRASHES_MAX

#: How long a handler is kept out of the worker after it has crashed a process of its own.
KEPT_OUT_US = 10 * 60 * 1_000_000
#: Causes that say nothing about what the handler does to its process.
_SAY_NOTHING = frozenset({FailureCause.INTERNAL, FailureCause.HANDLER_MISSING})


class Suspects:
    """Handlers under suspicion, as one worker knows them; no more than it has loaded."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self._clock_us = clock_us
        #: Subscriber -> time until which no attempt clears it.
        self._until_us: dict[str, int] = {}

    def add(self, subscribers: Iterable[str]) -> None:
        """Suspect subscribers: a worker has died with deliveries for them."""
        for subscriber_id in subscribers:
            self._until_us.setdefault(subscriber_id, 0)

    def isolation(self, claimed: ClaimedDelivery) -> Isolation:
        """How to try a delivery."""
        if claimed.crashes:
            self.add([claimed.subscriber_id])
        # Run it alone: nothing else must cause the crash that makes it poison.
        if claimed.crashes >= CRASHES_MAX - 1:
            return Isolation.NEW
        suspected = claimed.subscriber_id in self._until_us
        return Isolation.SHARED if suspected else Isolation.NONE

    def ended(self, claimed: ClaimedDelivery, outcome: AttemptOutcome) -> None:
        """Note the end of an attempt: one that left its process alive clears the subscriber."""
        subscriber_id = claimed.subscriber_id
        if isinstance(outcome, Failed):
            if outcome.cause is FailureCause.HANDLER_DIED:
                self._until_us[subscriber_id] = self._clock_us() + KEPT_OUT_US
            if outcome.cause is FailureCause.HANDLER_DIED or outcome.cause in _SAY_NOTHING:
                return
        if self._clock_us() >= self._until_us.get(subscriber_id, 0):
            self._until_us.pop(subscriber_id, None)
