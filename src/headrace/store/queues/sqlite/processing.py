"""The queue of accepted events in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw

from headrace.domain.events.event import Status
from headrace.store.contract.errors import LeadershipLostError, SubscribersChangedError
from headrace.store.contract.processing import (
    FIRST_DEATH,
    LEASE_US,
    Claimed,
    Planner,
    ProcessingFailure,
    QueueTuning,
    SubscriberRule,
    WorkStats,
    after_death,
)
from headrace.store.engine.sqlite.readers import Readers
from headrace.store.engine.sqlite.transaction import SqliteDatabase, SqliteTransaction
from headrace.store.engine.sqlite.writer import Writer
from headrace.store.engine.transaction import Transaction, drive
from headrace.store.events.queue_reads import read_stats, read_subscriber_rules
from headrace.store.privacy.erased_events import ErasedEvents
from headrace.store.queues.sqlite import claims
from headrace.store.queues.sqlite.catalog_writes import write_catalog
from headrace.store.queues.sqlite.contact_lookup import ContactLookup
from headrace.store.queues.sqlite.dead_letter_ids import next_dead_letters
from headrace.store.queues.sqlite.parts import PART_OF_EVENT
from headrace.store.queues.sqlite.plan_writes import write_plan
from headrace.store.queues.sqlite.rollups import add_rollups
from headrace.store.upkeep.leadership import Leadership, release_leadership
from headrace.store.upkeep.rollup_counts import failed, processed


class SqliteProcessing:
    """See `headrace.store.contract.processing.ProcessingStore`.

    Args:
        clock_us: the store's clock; on one machine that is the machine's.
        is_alive: whether the process that an owner names still runs. A dead owner's leadership is
            taken over at once instead of at the end of its lease.
    """

    # An accept may have to wait for the end of a batch, and a renewal is a write to the disk.
    pace = QueueTuning(batch_max=256, poll_seconds=0.02, poll_seconds_max=0.02, renew_seconds=5.0)

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock_us: Callable[[], int],
        is_alive: Callable[[str], bool],
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._clock_us = clock_us
        self._database = SqliteDatabase(writer, readers)
        self._leadership = Leadership(self._now, is_alive)
        #: The project that was served last.
        self._turn = 0

    async def acquire_leadership(self, name: str, owner: str, lease_us: int) -> int | None:
        return await self._database.write(
            lambda tx: self._leadership.take(tx, name, owner, lease_us)
        )

    async def _now(self, tx: Transaction) -> int:
        del tx
        return self._clock_us()

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        # Called many times a second while the queue is empty: then only a reader polls, without the
        # write lock.
        now_us, turn = self._clock_us(), self._turn
        if not await self._readers.run(
            lambda connection: claims.anything_due(connection, now_us, turn)
        ):
            return []

        def work(connection: apsw.Connection) -> Sequence[Claimed]:
            _check_leader(connection, owner)
            return self._claim(connection, owner, limit, now_us)

        return await self._writer.run(work)

    def _claim(
        self, connection: apsw.Connection, owner: str, limit: int, now_us: int
    ) -> Sequence[Claimed]:
        claimed = claims.claim(
            connection, owner, limit, now_us=now_us, lease_us=LEASE_US, after=self._turn
        )
        if claimed:
            self._turn = claimed[-1].project_id
        return claimed

    async def process(
        self,
        owner: str,
        batch: Sequence[Claimed],
        plan: Planner,
        claim_next: int,
        *,
        subscribers_version: int,
    ) -> tuple[int, Sequence[Claimed]]:
        def work(connection: apsw.Connection) -> tuple[int, Sequence[Claimed]]:
            _check_leader(connection, owner)
            if _subscribers_version(connection) != subscribers_version:
                raise SubscribersChangedError
            now_us = self._clock_us()
            held = _without_erased(connection, claims.still_held(connection, owner, batch))
            planned = plan(held, ContactLookup(connection, held).find)
            write_plan(connection, planned, now_us)
            write_catalog(connection, planned.catalog, now_us)
            add_rollups(connection, processed(held, now_us))
            claims.drop(connection, owner, held)
            if not claim_next:
                return len(held), []
            return len(held), self._claim(connection, owner, claim_next, now_us)

        return await self._writer.run(work)

    async def fail(self, owner: str, claimed: Claimed, failure: ProcessingFailure) -> bool:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> bool:
            leads = _is_leader(connection, owner)
            if not leads or not claims.still_held(connection, owner, [claimed]):
                return False
            claims.drop(connection, owner, [claimed])
            _record_failure(connection, claimed, failure, now_us)
            return True

        return await self._writer.run(work)

    async def release(self, owner: str) -> int:
        def work(connection: apsw.Connection) -> int:
            drive(release_leadership(SqliteTransaction(connection), owner))
            return claims.give_back(connection, owner)

        return await self._writer.run(work)

    async def rescue(self, owner: str, limit: int) -> int:
        # Only the leader claims, so there are no leases to check or wait for.
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> int:
            _check_leader(connection, owner)
            others, own = claims.take_back(connection, owner, limit)
            _record_first_deaths(connection, [c for c in others if c.crashes == 1], now_us)
            for claimed in others:
                if claimed.crashes > 1:
                    _record_death(connection, claimed, now_us)
            return len(others) + len(own)

        return await self._writer.run(work)

    async def subscriber_rules(self) -> tuple[int, Sequence[SubscriberRule]]:
        return await self._database.read(read_subscriber_rules)

    def lock_waits(self) -> int:
        return self._writer.busy.waits

    async def stats(self) -> WorkStats:
        return await self._database.read(read_stats)


def _is_leader(connection: apsw.Connection, owner: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM leader_leases WHERE name = 'processing' AND owner = ?", (owner,)
    ).fetchone()
    return row is not None


def _check_leader(connection: apsw.Connection, owner: str) -> None:
    if not _is_leader(connection, owner):
        raise LeadershipLostError


def _without_erased(connection: apsw.Connection, batch: Sequence[Claimed]) -> Sequence[Claimed]:
    erased, tx = ErasedEvents(), SqliteTransaction(connection)
    return drive(erased.without(tx, batch)) if drive(erased.find_running(tx, batch)) else batch


def _subscribers_version(connection: apsw.Connection) -> int:
    row: Any = connection.execute(
        "SELECT value FROM meta WHERE name = 'subscribers_version'"
    ).fetchone()
    return 0 if row is None else int(row[0])


_ADD_ATTEMPT = (
    "INSERT INTO processing_attempts (sequence, number, at_us, duration_us, cause, error) "
    "SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM processing_attempts "
    "WHERE sequence = ?1"
)


def _record_first_deaths(connection: apsw.Connection, held: Sequence[Claimed], now_us: int) -> None:
    """Record attempts that ended with the death of their worker; their events are queued again."""
    rows = [(claimed.sequence, now_us, 0, *FIRST_DEATH) for claimed in held]
    connection.executemany(_ADD_ATTEMPT, rows)


def _record_death(connection: apsw.Connection, claimed: Claimed, now_us: int) -> None:
    connection.execute(
        "DELETE FROM event_queue WHERE project_id = ? AND sequence = ?",
        (claimed.project_id, claimed.sequence),
    )
    _record_failure(connection, claimed, after_death(claimed.crashes, now_us), now_us)


def _record_failure(
    connection: apsw.Connection, claimed: Claimed, failure: ProcessingFailure, now_us: int
) -> None:
    """Record the attempt, the status, and the retry or dead letter that follows."""
    connection.execute(
        _ADD_ATTEMPT,
        (claimed.sequence, now_us, failure.duration_us, failure.cause, failure.error),
    )
    retries = failure.retry_at_us is not None
    status = Status.RETRYING if retries else Status.DEAD_LETTERED
    add_rollups(connection, [failed(claimed.project_id, now_us, retries=retries)])
    connection.execute(
        f"UPDATE events SET status = ?, attempts = ?, last_error = ?, part = {PART_OF_EVENT} "
        "WHERE sequence = ?",
        (status.value, claimed.attempt, failure.error, claimed.sequence),
    )
    if retries:
        connection.execute(
            "INSERT INTO event_retries (sequence, project_id, lane, due_us, attempt, crashes) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                claimed.sequence,
                claimed.project_id,
                claimed.lane,
                failure.retry_at_us,
                claimed.attempt,
                claimed.crashes,
            ),
        )
        return
    connection.execute(
        "INSERT INTO dead_letters (number, id, project_id, sequence, event, kind, cause, error, "
        "attempts, first_failed_us, dead_lettered_us, lane) SELECT ?1, ?2, ?3, ?4, ?5, "
        "'processing', ?6, ?7, ?8, min(at_us), ?9, ?10 FROM processing_attempts "
        "WHERE sequence = ?4",
        (
            *next_dead_letters(connection, [claimed.lane])[0],
            claimed.project_id,
            claimed.sequence,
            claimed.event,
            failure.cause,
            failure.error,
            claimed.attempt,
            now_us,
            claimed.lane,
        ),
    )
