"""The queue of deliveries in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import apsw

from headrace.domain.events import StoredEvent
from headrace.store.contract_delivery import (
    AttemptRecord,
    BreakerChange,
    ClaimedDelivery,
    LinePage,
    Recorded,
    Want,
)
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.deliveries.subscriber_rows import disable_gone
from headrace.store.engine.transaction import drive
from headrace.store.rows.rollups import attempted
from headrace.store.sqlite import delivery_claims, delivery_outcomes
from headrace.store.sqlite.events import COLUMNS, stored_event
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.rollups import add_rollups
from headrace.store.sqlite.transaction import SqliteDatabase, SqliteTransaction
from headrace.store.sqlite.writer import Writer

_EVENT = f"SELECT {COLUMNS} FROM events WHERE sequence = ?"  # noqa: S608
_BREAKER = "SELECT breaker FROM subscribers WHERE id = ?"


class SqliteDeliveries(Deliveries):
    """Deliveries in this store.

    Args:
        clock_us: the store's clock; on one machine that is the machine's.
        is_alive: whether the process that an owner names still runs. What a dead one held is
            rescued at once instead of at the end of its lease.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock_us: Callable[[], int],
        is_alive: Callable[[str], bool],
    ) -> None:
        super().__init__(SqliteDatabase(writer, readers), clock_us)
        self._writer = writer
        self._readers = readers
        self._is_alive = is_alive

    async def lines(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> LinePage:
        now_us = self._clock_us()
        return await self._readers.run(
            lambda connection: delivery_claims.read_lines(
                connection, after, handlers, (limit, due_max), now_us
            )
        )

    async def claim(
        self, owner: str, wants: Sequence[Want], limit: int
    ) -> Sequence[ClaimedDelivery]:
        now_us = self._clock_us()
        claimed = await self._writer.run(
            lambda connection: delivery_claims.claim(connection, owner, wants, limit, now_us)
        )
        if not claimed:
            return []
        # Payloads are read after the commit: the write lock is not held for them.
        events = await self._readers.run(
            lambda connection: _events(connection, {row.sequence for row in claimed})
        )
        orphans = [row.number for row in claimed if row.sequence not in events]
        if orphans:
            await self._writer.run(lambda connection: _drop(connection, orphans))
        found = (row for row in claimed if row.sequence in events)
        return [row.with_event(events[row.sequence]) for row in found]

    async def record(
        self, owner: str, records: Sequence[AttemptRecord], breakers: Sequence[BreakerChange] = ()
    ) -> Recorded:
        now_us = self._clock_us()

        def work(connection: apsw.Connection) -> Recorded:
            finished = [
                record
                for record in records
                if delivery_outcomes.finish(connection, owner, record, now_us)
            ]
            drive(disable_gone(SqliteTransaction(connection), finished, now_us))
            add_rollups(connection, attempted(finished, now_us))
            changed: dict[str, str | None] = {}
            for change in breakers:
                if not delivery_claims.set_breaker(connection, change):
                    row: Any = connection.execute(_BREAKER, (change.subscriber_id,)).fetchone()
                    # Of a subscriber that is gone there is no breaker to be changed again.
                    if row is not None:
                        changed[change.subscriber_id] = row[0]
            return Recorded(frozenset(r.claimed.number for r in finished), changed)

        return await self._writer.run(work)

    async def renew(self, owner: str, claims: Sequence[ClaimedDelivery]) -> frozenset[int]:
        now_us = self._clock_us()
        return await self._writer.run(
            lambda connection: delivery_claims.renew(connection, owner, claims, now_us)
        )

    async def release(self, owner: str, claims: Sequence[ClaimedDelivery] | None = None) -> int:
        now_us = self._clock_us()
        return await self._writer.run(
            lambda connection: delivery_claims.give_back(connection, owner, claims, now_us)
        )

    async def rescue(self, limit: int) -> Sequence[str]:
        now_us = self._clock_us()
        # Nearly always there is nothing: then the write lock is left alone.
        lost = await self._readers.run(
            lambda connection: delivery_outcomes.find_lost(
                connection, limit, self._is_alive, now_us
            )
        )
        if not lost:
            return []
        return await self._writer.run(
            lambda connection: delivery_outcomes.take_back(connection, lost, now_us)
        )

    def rescue_due(self) -> bool:
        # All workers share all deliveries: nothing changes hands.
        return False

    async def shed(self, limit: int) -> int:
        now_us = self._clock_us()
        found = await self._readers.run(
            lambda connection: delivery_outcomes.find_unwanted(connection, now_us)
        )
        if not found:
            return 0
        return await self._writer.run(
            lambda connection: delivery_outcomes.shed(connection, limit, now_us)
        )


def _events(connection: apsw.Connection, sequences: set[int]) -> dict[int, StoredEvent]:
    found = {}
    for sequence in sequences:
        row = connection.execute(_EVENT, (sequence,)).fetchone()
        if row is not None:
            found[sequence] = stored_event(row)
    return found


def _drop(connection: apsw.Connection, numbers: Sequence[int]) -> None:
    """Forget deliveries whose event is gone: there is nothing to deliver any more."""
    for number in numbers:
        connection.execute("DELETE FROM delivery_attempts WHERE delivery_number = ?", (number,))
        connection.execute("DELETE FROM deliveries WHERE number = ?", (number,))
