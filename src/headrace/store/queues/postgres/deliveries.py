"""The queue of deliveries on PostgreSQL."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from headrace.store.contract.deliveries import (
    AttemptRecord,
    ClaimedDelivery,
    ClaimRequest,
    QueuePage,
)
from headrace.store.deliveries.claim_ends import drop
from headrace.store.deliveries.deliveries import Deliveries, HeldLanes
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import PostgresDatabase, PostgresTransaction
from headrace.store.engine.transaction import Transaction
from headrace.store.queues.postgres import delivery_claims
from headrace.store.queues.postgres.delivery_claims import (
    ClaimCandidates,
    Claims,
    SubscriberChangedError,
)
from headrace.store.queues.postgres.delivery_outcomes import PostgresOutcomes
from headrace.store.queues.postgres.due_scanner import DueScanner
from headrace.store.queues.postgres.rollups import add_rollups
from headrace.store.upkeep.rollup_counts import attempted, dead_lettered

T = TypeVar("T")

_ALIVE = "SELECT owner FROM workers WHERE owner = ANY($1::text[])"


class PostgresDeliveries(Deliveries):
    """Deliveries in this store.

    Deliveries of a lane are claimed by the worker that holds the lane. Each worker limits its own
    concurrent deliveries of a subscriber.

    Args:
        clock_us: the clock of the store.
        lanes: what this process may claim; nothing while it holds none.
    """

    def __init__(
        self,
        database: Database,
        numbers: SequenceAllocator,
        clock_us: Callable[[], int],
        lanes: HeldLanes,
    ) -> None:
        super().__init__(PostgresDatabase(database), clock_us, lanes, PostgresOutcomes(numbers))
        self._connections = database
        self._due = DueScanner()

    async def _write(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """One transaction whose statements name their rows by key."""

        async def by_keys(connection: Connection) -> T:
            await connection.execute(BY_KEYS.postgres)
            return await work(connection)

        return await self._connections.write(by_keys)

    async def due_queues(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> QueuePage:
        now_us, lanes, book = self._clock_us(), self._lanes.held(), self._due.book
        if not lanes:
            return QueuePage([], None)

        async def read(connection: Connection) -> QueuePage:
            await self._due.scan(connection, lanes, now_us)
            places = book.after(after, limit)
            found = [(place, book.due(place, due_max)) for place in places]
            queues, removed = await delivery_claims.queues_of(connection, found, handlers, now_us)
            for place in removed:
                book.forget(place)
            return QueuePage(queues, places[-1] if len(places) == limit else None)

        return await self._connections.read(read)

    async def claim(
        self, owner: str, requests: Sequence[ClaimRequest], limit: int
    ) -> Sequence[ClaimedDelivery]:
        now_us, lanes = self._clock_us(), frozenset(self._lanes.held())
        if not lanes or not requests:
            return []
        queues = [
            ((request.subscriber_id, request.project_id), request.limit) for request in requests
        ]

        async def refill(connection: Connection) -> None:
            await self._due.refill(connection, lanes, queues, now_us)

        if not all(self._due.book.suffices(*queue) for queue in queues):
            await self._connections.read(refill)
        candidates = self._candidates(requests, limit, lanes)
        try:
            claims = await self._claim(owner, candidates, now_us)
        except BaseException:
            self._put_back(candidates)
            raise
        self._put_back(claims.skipped)
        return await self._complete(claims)

    def _candidates(
        self, requests: Sequence[ClaimRequest], limit: int, lanes: frozenset[int]
    ) -> list[ClaimCandidates]:
        """What to claim for each, taken out of the index."""
        candidates: list[ClaimCandidates] = []
        left = limit
        for request in requests:
            queue = (request.subscriber_id, request.project_id)
            keys = self._due.book.take(queue, min(request.limit, left), lanes)
            left -= len(keys)
            if keys:
                candidates.append((request, keys))
        return candidates

    def _put_back(self, candidates: Sequence[ClaimCandidates]) -> None:
        for request, keys in candidates:
            self._due.book.add((request.subscriber_id, request.project_id), keys)

    async def _claim(
        self, owner: str, candidates: Sequence[ClaimCandidates], now_us: int
    ) -> Claims:
        skipped: list[ClaimCandidates] = []
        while candidates:
            current = candidates

            async def work(
                connection: Connection, current: Sequence[ClaimCandidates] = current
            ) -> Claims:
                return await delivery_claims.claim(connection, owner, current, now_us)

            try:
                claims = await self._write(work)
            except SubscriberChangedError as error:
                lost = error.args[0]
                skipped += [
                    candidate for candidate in candidates if candidate[0].subscriber_id in lost
                ]
                candidates = [
                    candidate for candidate in candidates if candidate[0].subscriber_id not in lost
                ]
            else:
                return Claims(claims.rows, claims.events, skipped + claims.skipped)
        return Claims([], {}, skipped)

    async def _complete(self, claims: Claims) -> Sequence[ClaimedDelivery]:
        """Add the events; a delivery whose event is removed is removed, too."""
        found = [(row, claims.events.get((row.lane, row.sequence))) for row in claims.rows]
        orphans = [(row.lane, row.number) for row, event in found if event is None]
        if orphans:
            await self._write(lambda connection: drop(PostgresTransaction(connection), orphans))
        return [row.with_event(event) for row, event in found if event is not None]

    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        now_us = self._clock_us()

        async def work(connection: Connection) -> frozenset[int]:
            return await delivery_claims.renew(connection, owner, claims, now_us)

        return await self._write(work)

    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        now_us = self._clock_us()

        async def work(connection: Connection) -> int:
            return await delivery_claims.give_back(connection, owner, claims, now_us)

        return await self._write(work)

    async def _count(self, tx: Transaction, records: Sequence[AttemptRecord], now_us: int) -> None:
        assert isinstance(tx, PostgresTransaction)
        await add_rollups(tx.connection, self._lane(), attempted(records, now_us))

    async def _dead_owners(self, tx: Transaction, owners: Sequence[str]) -> Sequence[str]:
        # A worker registers before it claims, so the owner of a claim who is not registered
        # afterwards is dead.
        assert isinstance(tx, PostgresTransaction)
        alive = {owner for (owner,) in await tx.connection.fetch(_ALIVE, owners)}
        return [owner for owner in owners if owner not in alive]

    async def _count_dead(
        self, tx: Transaction, dead: Sequence[tuple[int, str]], now_us: int
    ) -> None:
        assert isinstance(tx, PostgresTransaction)
        if dead:
            await add_rollups(tx.connection, self._lane(), dead_lettered(dead, now_us))

    def _lane(self) -> int:
        """The lane of the delivery counters: a different one than processing uses."""
        return max(self._lanes.held(), default=0)
