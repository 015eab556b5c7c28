"""The queue of accepted events on PostgreSQL, processed by any number of workers.

Each processes the lanes that it holds (`lanes.py`), so workers do not compete for a row. Every
write of a worker is fenced by its own row, which is deleted before its lanes are taken over.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from headrace.store.contacts.races import write_contacts
from headrace.store.contract.errors import LeadershipLostError, SubscribersChangedError
from headrace.store.contract.processing import (
    Claimed,
    Planner,
    ProcessingFailure,
    QueueTuning,
    SubscriberRule,
    WorkStats,
)
from headrace.store.engine.plans import BY_KEYS
from headrace.store.engine.postgres.database import Connection, Database
from headrace.store.engine.postgres.sequences import SequenceAllocator
from headrace.store.engine.postgres.transaction import PostgresDatabase, PostgresTransaction
from headrace.store.events.queue_reads import read_stats, read_subscriber_rules
from headrace.store.privacy.erased_events import ErasedEvents
from headrace.store.queues.postgres import claims
from headrace.store.queues.postgres.catalog_writes import CatalogFailedError, keep_catalog
from headrace.store.queues.postgres.claims import ClaimTurn
from headrace.store.queues.postgres.contact_lookup import ContactLookup
from headrace.store.queues.postgres.failures import record_failure
from headrace.store.queues.postgres.lanes import PAUSED, Fenced, Lanes
from headrace.store.queues.postgres.plan_writes import write_plan
from headrace.store.queues.postgres.queue_cursor import QueueCursor
from headrace.store.queues.postgres.rescue import take_back
from headrace.store.queues.postgres.rollups import add_rollups
from headrace.store.upkeep.leadership import Leadership, release_leadership
from headrace.store.upkeep.rollup_counts import failed, processed

T = TypeVar("T")

#: Limit for a scan of a queue whose dead rows cannot be vacuumed.
SCAN_SECONDS_MAX = 20.0
#: Longest pause of an idle worker, with and without notices of arrivals.
POLL_SECONDS_MAX = 2.0
UNNOTIFIED_SECONDS = 0.25
#: Attempts at a batch that loses races for its contacts, before it locks them all.
UNLOCKED_TRIES = 3


class PostgresProcessing:
    """See `headrace.store.contract.processing.ProcessingStore`.

    Args:
        clock_us: the store's clock, for what is written and for retries. Leases are by the
            database's own.
        lanes: shared with everything else that claims in this process.
    """

    def __init__(
        self,
        database: Database,
        numbers: SequenceAllocator,
        lanes: Lanes,
        leadership: Leadership,
        clock_us: Callable[[], int],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        # Nothing waits for the end of a batch. Notices of arrivals may be lost, so an idle worker
        # polls, too, though more and more seldom: the server has other work. A pooler forwards no
        # notices.
        self.pace = QueueTuning(
            batch_max=512,
            poll_seconds=0.025,
            poll_seconds_max=POLL_SECONDS_MAX if database.keeps_sessions else UNNOTIFIED_SECONDS,
            renew_seconds=3.0,
        )
        self._database = database
        self._transactions = PostgresDatabase(database)
        self._numbers = numbers
        self._lanes = lanes
        self._leadership = leadership
        self._clock_us = clock_us
        self._monotonic_s = monotonic_s
        self._cursors: dict[str, QueueCursor] = {}
        self._epochs: dict[str, int | None] = {}

    async def acquire_leadership(self, name: str, owner: str, lease_us: int) -> int | None:
        if name != "processing":
            return await self._transactions.write(
                lambda tx: self._leadership.take(tx, name, owner, lease_us)
            )
        epoch = await self._lanes.renew(owner, lease_us)
        if epoch != self._epochs.get(owner):
            # Nothing is known of lanes that are new here.
            self._cursor(owner).forget()
            self._epochs[owner] = epoch
        return epoch

    def _cursor(self, owner: str) -> QueueCursor:
        return self._cursors.setdefault(owner, QueueCursor(self._monotonic_s))

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        # Called many times a second while the queue is empty: then no transaction is begun.
        async def poll(connection: Connection) -> bool:
            return await self._turn(connection, owner, self._clock_us()).anything_due()

        if not await self._database.read(poll, SCAN_SECONDS_MAX):
            return []

        async def work(connection: Connection, fenced: Fenced) -> Sequence[Claimed]:
            return await self._turn(connection, owner, fenced.now_us).claim(owner, limit)

        return await self._write(owner, work)

    def _turn(self, connection: Connection, owner: str, database_us: int) -> ClaimTurn:
        lanes = self._lanes.held(owner)
        if not lanes:
            raise LeadershipLostError
        return ClaimTurn(
            connection,
            lanes,
            self._cursor(owner),
            now_us=self._clock_us(),
            database_us=database_us,
        )

    async def process(
        self,
        owner: str,
        batch: Sequence[Claimed],
        plan: Planner,
        claim_next: int,
        *,
        subscribers_version: int,
    ) -> tuple[int, Sequence[Claimed]]:
        catalogue = True
        tries = 0
        erased = ErasedEvents()

        async def work(connection: Connection, fenced: Fenced) -> tuple[int, Sequence[Claimed]]:
            nonlocal tries
            tries += 1
            if fenced.subscribers_version != subscribers_version:
                raise SubscribersChangedError
            dropped = await claims.drop(connection, owner, batch)
            tx = PostgresTransaction(connection)
            held = await erased.without(tx, dropped)
            look_up = ContactLookup.read if tries <= UNLOCKED_TRIES else ContactLookup.locked
            found = await look_up(connection, held)
            decided = plan(held, found.find)
            now_us = self._clock_us()
            await write_plan(connection, self._numbers, decided, found, now_us)
            taken: Sequence[Claimed] = []
            if claim_next:
                turn = self._turn(connection, owner, fenced.now_us)
                taken = await turn.claim(owner, claim_next)
            # Last, so that others do not wait long for the counters' locks.
            lane = self._lowest_lane(owner)
            await keep_catalog(connection, lane, decided.catalog, now_us, write=catalogue)
            await add_rollups(connection, lane, processed(held, now_us))
            await erased.check(tx, held)
            return len(held), taken

        try:
            return await self._write(owner, work)
        except CatalogFailedError:
            # The catalog has aborted the transaction; the events must not fail with it.
            catalogue = False
            return await self._write(owner, work)

    def _lowest_lane(self, owner: str) -> int:
        return min(self._lanes.held(owner), default=0)

    async def _write(self, owner: str, work: Callable[[Connection, Fenced], Awaitable[T]]) -> T:
        """Run `work` in a fenced transaction; restores the cursor if it is rolled back."""
        cursor = self._cursor(owner)
        known = cursor.save()
        runs = 0

        async def fenced(connection: Connection) -> T:
            nonlocal runs
            runs += 1
            if runs > 1:
                cursor.restore(known)
            await connection.execute(f"{PAUSED}; {BY_KEYS.postgres}")
            return await work(connection, await self._lanes.fence(connection, owner))

        try:
            return await write_contacts(lambda: self._database.write(fenced))
        except BaseException:
            cursor.restore(known)
            raise

    async def fail(self, owner: str, claimed: Claimed, failure: ProcessingFailure) -> bool:
        async def work(connection: Connection, fenced: Fenced) -> bool:
            del fenced
            if not await claims.drop(connection, owner, [claimed]):
                return False
            now_us = self._clock_us()
            await record_failure(connection, self._numbers, claimed, failure, now_us)
            retries = failure.retry_at_us is not None
            counted = [failed(claimed.project_id, now_us, retries=retries)]
            await add_rollups(connection, self._lowest_lane(owner), counted)
            return True

        try:
            return await self._write(owner, work)
        except LeadershipLostError:
            return False

    async def release(self, owner: str) -> int:
        async def work(connection: Connection) -> int:
            await release_leadership(PostgresTransaction(connection), owner)
            return await self._lanes.leave(connection, owner)

        given_back = await self._database.write(work)
        self._lanes.forget(owner)
        self._cursors.pop(owner, None)
        self._epochs.pop(owner, None)
        return given_back

    async def rescue(self, owner: str, limit: int) -> int:
        async def work(connection: Connection) -> list[tuple[int, int]]:
            await self._lanes.fence(connection, owner)
            lanes = self._lanes.held(owner)
            now_us = self._clock_us()
            return await take_back(
                connection, self._numbers, owner, lanes, limit=limit, now_us=now_us
            )

        requeued = await self._database.write(work)
        for project_id, queued_us in requeued:
            self._cursor(owner).requeue(project_id, queued_us)
        return len(requeued)

    async def subscriber_rules(self) -> tuple[int, Sequence[SubscriberRule]]:
        return await self._transactions.read(read_subscriber_rules, snapshot=True)

    def lock_waits(self) -> int:
        # Writers wait for rows here, not for the store: pausing would help nobody.
        return 0

    async def stats(self) -> WorkStats:
        return await self._transactions.read(read_stats)
