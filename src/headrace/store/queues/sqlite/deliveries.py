"""The queue of deliveries in the embedded store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import apsw

from headrace.domain.events.event import StoredEvent
from headrace.domain.events.identity import LANES
from headrace.store.contract.deliveries import (
    AttemptRecord,
    ClaimedDelivery,
    ClaimRequest,
    QueuePage,
)
from headrace.store.deliveries.claim_ends import drop
from headrace.store.deliveries.deliveries import Deliveries
from headrace.store.engine.sqlite.readers import Readers
from headrace.store.engine.sqlite.transaction import SqliteDatabase, SqliteTransaction
from headrace.store.engine.sqlite.writer import Writer
from headrace.store.engine.transaction import Transaction
from headrace.store.events.stored_events import COLUMNS, stored_event
from headrace.store.queues.sqlite import delivery_claims
from headrace.store.queues.sqlite.delivery_outcomes import SqliteOutcomes
from headrace.store.queues.sqlite.rollups import add_rollups
from headrace.store.upkeep.rollup_counts import attempted, dead_lettered

_EVENT = f"SELECT {COLUMNS} FROM stored_events e WHERE e.sequence = ?"
_LANES = list(range(LANES))


class _AllLanes:
    """All workers share all deliveries."""

    def held(self) -> Sequence[int]:
        return _LANES


class SqliteDeliveries(Deliveries):
    """Deliveries in this store.

    Args:
        clock_us: the store's clock; on one machine that is the machine's.
        is_alive: whether the process that an owner names still runs. Claims of a dead one are
            rescued at once instead of at the end of their lease.
    """

    def __init__(
        self,
        writer: Writer,
        readers: Readers,
        clock_us: Callable[[], int],
        is_alive: Callable[[str], bool],
    ) -> None:
        super().__init__(SqliteDatabase(writer, readers), clock_us, _AllLanes(), SqliteOutcomes())
        self._writer = writer
        self._readers = readers
        self._is_alive = is_alive

    async def due_queues(
        self,
        *,
        after: tuple[str, int] | None,
        handlers: Collection[str],
        limit: int,
        due_max: int,
    ) -> QueuePage:
        now_us = self._clock_us()
        return await self._readers.run(
            lambda connection: delivery_claims.read_queues(
                connection, after, handlers, (limit, due_max), now_us
            )
        )

    async def claim(
        self, owner: str, requests: Sequence[ClaimRequest], limit: int
    ) -> Sequence[ClaimedDelivery]:
        now_us = self._clock_us()
        claimed = await self._writer.run(
            lambda connection: delivery_claims.claim(connection, owner, requests, limit, now_us)
        )
        if not claimed:
            return []
        # Payloads are read after the commit, without the write lock.
        events = await self._readers.run(
            lambda connection: _events(connection, {row.sequence for row in claimed})
        )
        orphans = [(row.lane, row.number) for row in claimed if row.sequence not in events]
        if orphans:
            await self._database.write(lambda tx: drop(tx, orphans))
        found = (row for row in claimed if row.sequence in events)
        return [row.with_event(events[row.sequence]) for row in found]

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

    async def _count(self, tx: Transaction, records: Sequence[AttemptRecord], now_us: int) -> None:
        assert isinstance(tx, SqliteTransaction)
        add_rollups(tx.connection, attempted(records, now_us))

    async def _dead_owners(self, tx: Transaction, owners: Sequence[str]) -> Sequence[str]:
        del tx
        return [owner for owner in owners if not self._is_alive(owner)]

    async def _count_dead(
        self, tx: Transaction, dead: Sequence[tuple[int, str]], now_us: int
    ) -> None:
        assert isinstance(tx, SqliteTransaction)
        add_rollups(tx.connection, dead_lettered(dead, now_us))


def _events(connection: apsw.Connection, sequences: set[int]) -> dict[int, StoredEvent]:
    found = {}
    for sequence in sequences:
        row = connection.execute(_EVENT, (sequence,)).fetchone()
        if row is not None:
            found[sequence] = stored_event(row)
    return found
