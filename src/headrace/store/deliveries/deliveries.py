"""The queue of deliveries, as workers and pages see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence

from headrace.store.contract_delivery import (
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    DeliveryRecord,
    LinePage,
    Recorded,
    Want,
)
from headrace.store.deliveries.delivery_lists import deliveries_of_event, deliveries_of_subscriber
from headrace.store.engine.transaction import Database


class Deliveries(ABC):
    """The queue of deliveries; any number of workers share it.

    What runs for each delivery is each store's own: it is what the worker's time goes into.

    Args:
        clock_us: the clock of the store.
    """

    def __init__(self, database: Database, clock_us: Callable[[], int]) -> None:
        self._database = database
        self._clock_us = clock_us

    @abstractmethod
    async def lines(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> LinePage:
        """Lines with something due, of enabled webhooks and of `handlers` (ids).

        Args:
            after: end of the page before; None begins anew.
            limit: how many lines to look at, those with nothing due included.
            due_max: where counting stops in each line.
        """

    @abstractmethod
    async def claim(
        self, owner: str, wants: Sequence[Want], limit: int
    ) -> Sequence[ClaimedDelivery]:
        """Claim the longest due deliveries of each line, at most `limit` in all."""

    @abstractmethod
    async def record(
        self, owner: str, records: Sequence[AttemptRecord], breakers: Sequence[BreakerChange] = ()
    ) -> Recorded:
        """Record attempts and what follows from each, in one transaction.

        A dead letter is inserted with the end of its delivery. What is not `owner`'s claim any more
        is left alone, without a trace.
        """

    @abstractmethod
    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        """Lengthen leases; the numbers of those that are still ours."""

    @abstractmethod
    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        """Give claims back, uncounted and due now; all of `owner` without `claims`. How many."""

    @abstractmethod
    async def rescue(self, limit: int) -> Sequence[str]:
        """Take back claims whose lease ran out or whose owner is dead; they are due at once.

        Their attempts are uncounted and they become suspects (`crashes` is 1 at least). Only those
        that were lost `LOSSES_MAX` times in a row are dead-lettered.

        Returns:
            The subscriber of each that was taken back; `limit` of them mean that there may be more.
        """

    @abstractmethod
    def rescue_due(self) -> bool:
        """Whether to rescue before the next claim: deliveries of others became this process's."""

    @abstractmethod
    async def shed(self, limit: int) -> int:
        """Dead-letter what waits for deleted subscribers, and for those disabled too long.

        Returns:
            How many; `limit` means that there may be more.
        """

    async def list(
        self, project_id: int, subscriber_id: str, *, before: int | None, limit: int
    ) -> Sequence[DeliveryRecord]:
        """Deliveries of a subscriber within a project, newest first, below number `before`."""
        return await self._database.read(
            lambda tx: deliveries_of_subscriber(tx, project_id, subscriber_id, before, limit)
        )

    async def of_event(self, project_id: int, sequence: int) -> Sequence[DeliveryRecord]:
        """Deliveries of one event, oldest first: for its trace."""
        return await self._database.read(lambda tx: deliveries_of_event(tx, project_id, sequence))
