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
from headrace.store.queues.postgres.delivery_claims import BreakerLostError, ClaimCandidates, Claims
from headrace.store.queues.postgres.delivery_outcomes import PostgresOutcomes
from headrace.store.queues.postgres.due_scanner import DueScanner
from headrace.store.queues.postgres.rollups import add_rollups
from headrace.store.upkeep.rollup_counts import attempted, dead_lettered

T = TypeVar("T")

_ALIVE = "SELECT owner FROM workers WHERE owner = ANY($1::text[])"


class PostgresDeliveries(Deliveries):
    """Deliveries in this store.

    Deliveries of a lane are claimed by the worker that holds the lane. How many of a subscriber are
    on their way at a time is decided by each worker for itself.

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
        now_us, lanes, book = self._clock_us(), self._lanes.mine(), self._due.book
        if not lanes:
            return QueuePage([], None)

        async def read(connection: Connection) -> QueuePage:
            await self._due.look(connection, lanes, now_us)
            places = book.after(after, limit)
            found = [(place, book.due(place, due_max)) for place in places]
            queues, gone = await delivery_claims.lines_of(connection, found, handlers)
            for place in gone:
                book.forget(place)
            return QueuePage(queues, places[-1] if len(places) == limit else None)

        return await self._connections.read(read)

    async def claim(
        self, owner: str, wants: Sequence[ClaimRequest], limit: int
    ) -> Sequence[ClaimedDelivery]:
        now_us, lanes = self._clock_us(), frozenset(self._lanes.mine())
        if not lanes or not wants:
            return []
        queues = [((want.subscriber_id, want.project_id), want.limit) for want in wants]

        async def refill(connection: Connection) -> None:
            await self._due.refill(connection, lanes, queues, now_us)

        if not all(self._due.book.suffices(*queue) for queue in queues):
            await self._connections.read(refill)
        wishes = self._wishes(wants, limit, lanes)
        try:
            claims = await self._claim(owner, wishes, now_us)
        except BaseException:
            self._put_back(wishes)
            raise
        self._put_back(claims.passed)
        return await self._complete(claims)

    def _wishes(
        self, wants: Sequence[ClaimRequest], limit: int, lanes: frozenset[int]
    ) -> list[ClaimCandidates]:
        """What to claim for each, taken out of the book."""
        wishes: list[ClaimCandidates] = []
        left = limit
        for want in wants:
            queue = (want.subscriber_id, want.project_id)
            keys = self._due.book.take(queue, min(want.limit, left), lanes)
            left -= len(keys)
            if keys:
                wishes.append((want, keys))
        return wishes

    def _put_back(self, wishes: Sequence[ClaimCandidates]) -> None:
        for want, keys in wishes:
            self._due.book.add((want.subscriber_id, want.project_id), keys)

    async def _claim(self, owner: str, wishes: Sequence[ClaimCandidates], now_us: int) -> Claims:
        passed: list[ClaimCandidates] = []
        while wishes:
            going = wishes

            async def work(
                connection: Connection, going: Sequence[ClaimCandidates] = going
            ) -> Claims:
                return await delivery_claims.claim(connection, owner, going, now_us)

            try:
                claims = await self._write(work)
            except BreakerLostError as error:
                lost = error.args[0]
                passed += [wish for wish in wishes if wish[0].subscriber_id in lost]
                wishes = [wish for wish in wishes if wish[0].subscriber_id not in lost]
            else:
                return Claims(claims.rows, claims.events, passed + claims.passed)
        return Claims([], {}, passed)

    async def _complete(self, claims: Claims) -> Sequence[ClaimedDelivery]:
        """With their events; those whose event is gone go, too."""
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

    async def _gone(self, tx: Transaction, owners: Sequence[str]) -> Sequence[str]:
        # A worker is registered before it claims, so an owner of a claim that is not registered
        # afterwards has gone.
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
        """The lane of the counters of deliveries: another one than processing has."""
        return max(self._lanes.mine(), default=0)
