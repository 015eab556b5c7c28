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
from headrace.store.deliveries.shedding import expire_unroutable, find_unroutable
from headrace.store.deliveries.subscriber_rows import breakers_of, disable_gone, set_breakers
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.transaction import Database, Transaction


class HeldLanes(Protocol):
    """Which lanes are this process's now."""

    def mine(self) -> Sequence[int]: ...


class Deliveries(ABC):
    """The queue of deliveries; any number of workers share it.

    What runs for each delivery is each store's own: it is what the worker's time goes into.

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
        self._shed_after = ""
        #: Lanes whose former owners' claims were taken back; what is gained is not among them.
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
        """Lines with something due, of enabled webhooks and of `handlers` (ids).

        Args:
            after: end of the page before; None begins anew.
            limit: how many queues to look at, those with nothing due included.
            due_max: where counting stops in each queue.
        """

    @abstractmethod
    async def claim(
        self, owner: str, wants: Sequence[ClaimRequest], limit: int
    ) -> Sequence[ClaimedDelivery]:
        """Claim the longest due deliveries of each queue, at most `limit` in all."""

    @abstractmethod
    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        """Lengthen leases; the numbers of those that are still ours."""

    @abstractmethod
    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        """Give claims back, uncounted and due now; all of `owner` without `claims`. How many."""

    @abstractmethod
    async def _count(self, tx: Transaction, records: Sequence[AttemptRecord], now_us: int) -> None:
        """Count attempts that ended, by project and subscriber of each."""

    @abstractmethod
    async def _gone(self, tx: Transaction, owners: Sequence[str]) -> Sequence[str]:
        """Those of some owners of claims whose process has ended."""

    @abstractmethod
    async def _count_dead(
        self, tx: Transaction, dead: Sequence[tuple[int, str]], now_us: int
    ) -> None:
        """Count deliveries that became dead letters by project and subscriber of each."""

    async def record(
        self, owner: str, records: Sequence[AttemptRecord], breakers: Sequence[BreakerChange] = ()
    ) -> Recorded:
        """Record attempts and what follows from each, in one transaction.

        A dead letter is inserted with the end of its delivery. What is not `owner`'s claim any more
        is left alone, without a trace.
        """
        now_us = self._clock_us()

        async def work(tx: Transaction) -> Recorded:
            await tx.run(BY_KEYS)
            ours: frozenset[int] = frozenset()
            if records:
                ours = await finish(tx, self._outcomes, owner, records, now_us)
                held = [record for record in records if record.claimed.number in ours]
                await disable_gone(tx, held, now_us)
                await self._count(tx, held, now_us)
            lost = await set_breakers(tx, breakers)
            return Recorded(ours, await breakers_of(tx, lost))

        return await self._database.write(work)

    async def rescue(self, limit: int) -> Sequence[str]:
        """Take back claims whose lease ran out or whose owner is dead; they are due at once.

        Their attempts are uncounted and they become suspects (`crashes` is 1 at least). Only those
        that were lost `LOSSES_MAX` times in a row are dead-lettered.

        Returns:
            The subscriber of each that was taken back; `limit` of them mean that there may be more.
        """
        now_us, lanes = self._clock_us(), self._lanes.mine()
        if not lanes:
            return []
        # Nearly always there is nothing: then the write lock of SQLite is left alone.
        lost = await self._database.read(lambda tx: find_lost(tx, self._gone, lanes, limit, now_us))

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
        """Whether to rescue before the next claim: deliveries of others became this process's."""
        return not self._rescued_lanes.issuperset(self._lanes.mine())

    async def expire_unroutable(self, limit: int) -> int:
        """Dead-letter what waits for deleted subscribers, and for those disabled too long.

        Returns:
            How many; `limit` means that there may be more.
        """
        now_us, lanes = self._clock_us(), self._lanes.mine()
        if not lanes:
            return 0
        unwanted, after = await self._database.read(
            lambda tx: find_unroutable(tx, self._shed_after, now_us)
        )

        async def work(tx: Transaction) -> int:
            await tx.run(BY_KEYS)
            dead = await expire_unroutable(tx, self._outcomes, unwanted, lanes, limit, now_us)
            await self._count_dead(tx, dead, now_us)
            return len(dead)

        count = await self._database.write(work) if unwanted else 0
        if count < limit:
            self._shed_after = after
        return count

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
