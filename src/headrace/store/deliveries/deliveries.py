"""The queue of deliveries, as workers and pages see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from headrace.store.contract.deliveries import (
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    ClaimRequest,
    DeliveryRecord,
    QueuePage,
    Recorded,
)
from headrace.store.deliveries.claim_ends import Outcomes, find_lost, finish, take_back
from headrace.store.deliveries.delivery_lists import deliveries_of_event, deliveries_of_subscriber
from headrace.store.deliveries.pauses import count_waiting, end_paces, find_caught_up
from headrace.store.deliveries.subscriber_rows import breakers_of, disable_gone, set_breakers
from headrace.store.deliveries.unroutable import expire_unroutable, find_unroutable
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.transaction import Database, Transaction


class HeldLanes(Protocol):
    """The lanes that this process holds."""

    def held(self) -> Sequence[int]: ...


class Deliveries(ABC):
    """The queue of deliveries; any number of workers share it.

    Each store has its own code for what runs for each delivery, the worker's hot path.

    Args:
        clock_us: the clock of the store.
        lanes: what this process may claim; nothing while it holds none.
        outcomes: writes how claims ended.
    """

    def __init__(
        self,
        database: Database,
        clock_us: Callable[[], int],
        lanes: HeldLanes,
        outcomes: Outcomes,
    ) -> None:
        self._database = database
        self._clock_us = clock_us
        self._lanes = lanes
        self._outcomes = outcomes
        self._unroutable_after = ""
        #: Lanes whose former owners' claims were taken back; lanes gained since are missing.
        self._rescued_lanes: frozenset[int] = frozenset()

    @abstractmethod
    async def due_queues(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> QueuePage:
        """Queues with deliveries due, of enabled webhooks and of `handlers` (ids).

        Args:
            after: end of the page before; None starts over.
            limit: how many queues to examine, including those with nothing due.
            due_max: where counting stops in each queue.
        """

    @abstractmethod
    async def claim(
        self, owner: str, requests: Sequence[ClaimRequest], limit: int
    ) -> Sequence[ClaimedDelivery]:
        """Claim the deliveries of each queue that are due longest, at most `limit` in all."""

    @abstractmethod
    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        """Extend leases; returns the numbers of the claims that still hold."""

    @abstractmethod
    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        """Release claims uncounted and due now, all of `owner` without `claims`; how many."""

    @abstractmethod
    async def _count(self, tx: Transaction, records: Sequence[AttemptRecord], now_us: int) -> None:
        """Count ended attempts by project and subscriber."""

    @abstractmethod
    async def _dead_owners(self, tx: Transaction, owners: Sequence[str]) -> Sequence[str]:
        """The owners whose process has ended."""

    @abstractmethod
    async def _count_dead(
        self, tx: Transaction, dead: Sequence[tuple[int, str]], now_us: int
    ) -> None:
        """Count deliveries that became dead letters by project and subscriber."""

    async def record(
        self, owner: str, records: Sequence[AttemptRecord], breakers: Sequence[BreakerChange] = ()
    ) -> Recorded:
        """Record attempts and what follows from each, in one transaction.

        A dead letter is inserted with the end of its delivery. Claims that `owner` no longer holds
        are skipped and leave no record.
        """
        now_us = self._clock_us()

        async def work(tx: Transaction) -> Recorded:
            await tx.run(BY_KEYS)
            ended: frozenset[int] = frozenset()
            if records:
                ended = await finish(tx, self._outcomes, owner, records, now_us)
                held = [record for record in records if record.claimed.number in ended]
                await disable_gone(tx, held, now_us)
                await self._count(tx, held, now_us)
            lost = await set_breakers(tx, breakers)
            return Recorded(ended, await breakers_of(tx, lost))

        return await self._database.write(work)

    async def rescue(self, limit: int) -> Sequence[str]:
        """Take back claims whose lease ran out or whose owner is dead; they are due at once.

        Their attempts are not counted and they become suspects (`crashes` is at least 1). Only
        those that were lost `LOSSES_MAX` times in a row are dead-lettered.

        Returns:
            The subscriber of each claim taken back; `limit` of them mean that there may be more.
        """
        now_us, lanes = self._clock_us(), self._lanes.held()
        if not lanes:
            return []
        # Usually there is nothing: then the write lock of SQLite is not taken.
        lost = await self._database.read(
            lambda tx: find_lost(tx, self._dead_owners, lanes, limit, now_us)
        )

        async def work(tx: Transaction) -> list[str]:
            await tx.run(BY_KEYS)
            taken, dead = await take_back(tx, self._outcomes, lost, now_us)
            await self._count_dead(tx, dead, now_us)
            return taken

        taken = await self._database.write(work) if lost else []
        if len(lost) < limit:
            self._rescued_lanes = frozenset(lanes)
        return taken

    def rescue_due(self) -> bool:
        """Whether to rescue before the next claim: this process has gained lanes."""
        return not self._rescued_lanes.issuperset(self._lanes.held())

    async def expire_unroutable(self, limit: int) -> int:
        """Dead-letter deliveries that wait for subscribers that are deleted or disabled too long.

        Returns:
            How many; `limit` means that there may be more.
        """
        now_us, lanes = self._clock_us(), self._lanes.held()
        if not lanes:
            return 0
        unroutable, after = await self._database.read(
            lambda tx: find_unroutable(tx, self._unroutable_after, now_us)
        )

        async def work(tx: Transaction) -> int:
            await tx.run(BY_KEYS)
            dead = await expire_unroutable(tx, self._outcomes, unroutable, lanes, limit, now_us)
            await self._count_dead(tx, dead, now_us)
            return len(dead)

        count = await self._database.write(work) if unroutable else 0
        if count < limit:
            self._unroutable_after = after
        return count

    async def end_paces(self) -> None:
        """End the rate of resumed webhooks that have no delivery due."""
        now_us = self._clock_us()
        ended = await self._database.read(lambda tx: find_caught_up(tx, now_us))
        if ended:
            await self._database.write(lambda tx: end_paces(tx, ended))

    async def list(
        self, project_id: int, subscriber_id: str, *, before: int | None, limit: int
    ) -> Sequence[DeliveryRecord]:
        """Deliveries of a subscriber within a project, newest first, below number `before`."""
        return await self._database.read(
            lambda tx: deliveries_of_subscriber(tx, project_id, subscriber_id, before, limit)
        )

    async def waiting(self, project_id: int, subscriber_id: str) -> int:
        """How many wait for a subscriber, counted up to `COUNTED_MAX` of `pauses`."""
        return await self._database.read(lambda tx: count_waiting(tx, project_id, subscriber_id))

    async def of_event(self, project_id: int, sequence: int) -> Sequence[DeliveryRecord]:
        """Deliveries of one event, oldest first: for its trace."""
        return await self._database.read(lambda tx: deliveries_of_event(tx, project_id, sequence))
