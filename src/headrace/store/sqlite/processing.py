"""The queue of accepted events in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apsw
import msgspec

from headrace.domain.events import Status
from headrace.domain.ids import new_uuid, uuid_text
from headrace.store.contract_processing import (
    CRASHES_MAX,
    LEASE_US,
    Claimed,
    Planner,
    ProcessingFailure,
    SubscriberRule,
    WorkStats,
)
from headrace.store.sqlite import claims
from headrace.store.sqlite.contact_lookup import ContactLookup
from headrace.store.sqlite.plan_writes import write_plan
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.writer import Writer

STATS_COUNTED_MAX = 100_000


class DutyLostError(Exception):
    """Another worker processes now; nothing of the batch was written."""


class SqliteProcessing:
    """See `headrace.store.contract_processing.ProcessingStore`.

    Args:
        clock_us: the store's clock; on one machine that is the machine's.
        is_alive: whether the process that an owner names still runs. A dead owner's duty is taken
            over at once instead of at the end of its lease.
    """

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
        self._is_alive = is_alive

    async def take_duty(self, name: str, owner: str, lease_us: int) -> int | None:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> int | None:
            row: Any = connection.execute(
                "SELECT owner, epoch, lease_until_us FROM duties WHERE name = ?", (name,)
            ).fetchone()
            held_by, epoch, until_us = row or (owner, 0, 0)
            if held_by != owner and until_us > now_us and self._is_alive(held_by):
                return None
            epoch = int(epoch) + (held_by != owner or row is None)
            connection.execute(
                "INSERT INTO duties (name, owner, epoch, lease_until_us) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, "
                "epoch = excluded.epoch, lease_until_us = excluded.lease_until_us",
                (name, owner, epoch, now_us + lease_us),
            )
            return epoch

        return await self._writer.run(work)

    async def claim(self, owner: str, limit: int) -> Sequence[Claimed]:
        # Asked many times a second while nothing waits: then only a reader looks, and the write
        # lock is left alone.
        now_us = self._clock_us()
        if not await self._readers.run(lambda connection: claims.anything_due(connection, now_us)):
            return []
        return await self._writer.run(
            lambda connection: claims.claim(connection, owner, limit, now_us, LEASE_US)
        )

    async def process(
        self, owner: str, batch: Sequence[Claimed], plan: Planner, claim_next: int
    ) -> tuple[int, Sequence[Claimed]]:
        def work(connection: apsw.Connection) -> tuple[int, Sequence[Claimed]]:
            self._check_duty(connection, owner)
            now_us = self._clock_us()
            mine = claims.still_ours(connection, owner, batch)
            write_plan(connection, plan(mine, ContactLookup(connection, mine).find), now_us)
            claims.drop(connection, owner, mine)
            if not claim_next:
                return len(mine), []
            return len(mine), claims.claim(connection, owner, claim_next, now_us, LEASE_US)

        return await self._writer.run(work)

    def _check_duty(self, connection: apsw.Connection, owner: str) -> None:
        row = connection.execute(
            "SELECT 1 FROM duties WHERE name = 'processing' AND owner = ?", (owner,)
        ).fetchone()
        if row is None:
            raise DutyLostError

    async def fail(self, owner: str, claimed: Claimed, failure: ProcessingFailure) -> bool:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> bool:
            if not claims.still_ours(connection, owner, [claimed]):
                return False
            claims.drop(connection, owner, [claimed])
            _record_failure(connection, claimed, failure, now_us)
            return True

        return await self._writer.run(work)

    async def release(self, owner: str) -> int:
        def work(connection: apsw.Connection) -> int:
            connection.execute("DELETE FROM duties WHERE owner = ?", (owner,))
            return claims.give_back(connection, owner)

        return await self._writer.run(work)

    async def rescue(self, limit: int) -> int:
        """Take back every claim of an owner that has not the duty `processing`.

        Only the holder of the duty claims, so what others still hold is what they died with. Called
        after the duty has changed hands; then no claim is held up by its lease.
        """
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> int:
            rescued = claims.take_from_others(connection, limit)
            for claimed in rescued:
                if claimed.crashes >= CRASHES_MAX:
                    connection.execute(
                        "DELETE FROM work WHERE project_id = ? AND sequence = ?",
                        (claimed.project_id, claimed.sequence),
                    )
                    error = f"The worker died {claimed.crashes} times over this event."
                    poison = ProcessingFailure("poison", error, 0, None)
                    _record_failure(connection, claimed, poison, now_us)
            return len(rescued)

        return await self._writer.run(work)

    async def subscriber_rules(self) -> tuple[int, Sequence[SubscriberRule]]:
        return await self._readers.run(_subscriber_rules)

    def lock_waits(self) -> int:
        return self._writer.busy.waits

    async def stats(self) -> WorkStats:
        def read(connection: apsw.Connection) -> WorkStats:
            def count(table: str) -> int:
                sql = f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {STATS_COUNTED_MAX})"  # noqa: S608
                row: Any = connection.execute(sql).fetchone()
                return int(row[0])

            oldest = claims.oldest_due(connection)
            return WorkStats(count("work"), count("work_retries"), oldest)

        return await self._readers.run(read)


def _subscriber_rules(connection: apsw.Connection) -> tuple[int, Sequence[SubscriberRule]]:
    version = connection.execute(
        "SELECT value FROM meta WHERE name = 'subscribers_version'"
    ).fetchone()
    rows = connection.execute("SELECT id, project_id, events, enabled FROM subscribers")
    rules = [
        SubscriberRule(i, p, tuple(msgspec.json.decode(events)), bool(enabled))
        for i, p, events, enabled in rows
    ]
    return (0 if version is None else int(version[0])), rules


def _record_failure(
    connection: apsw.Connection, claimed: Claimed, failure: ProcessingFailure, now_us: int
) -> None:
    """Attempt, status and what follows: a place among the retries, or a dead letter."""
    connection.execute(
        "INSERT INTO processing_attempts (sequence, number, at_us, duration_us, cause, error) "
        "SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4, ?5 FROM processing_attempts "
        "WHERE sequence = ?1",
        (claimed.sequence, now_us, failure.duration_us, failure.cause, failure.error),
    )
    retries = failure.retry_at_us is not None
    status = Status.RETRYING if retries else Status.DEAD_LETTERED
    connection.execute(
        "UPDATE events SET status = ?, attempts = ?, last_error = ? WHERE sequence = ?",
        (status.value, claimed.attempt, failure.error, claimed.sequence),
    )
    if retries:
        connection.execute(
            "INSERT INTO work_retries (sequence, project_id, lane, due_us, attempt, crashes) "
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
        "INSERT INTO dead_letters (id, project_id, sequence, event, kind, cause, error, attempts, "
        "first_failed_us, dead_lettered_us) SELECT ?1, ?2, ?3, ?4, 'processing', ?5, ?6, ?7, "
        "min(at_us), ?8 FROM processing_attempts WHERE sequence = ?3",
        (
            uuid_text(new_uuid()),
            claimed.project_id,
            claimed.sequence,
            claimed.event,
            failure.cause,
            failure.error,
            claimed.attempt,
            now_us,
        ),
    )
