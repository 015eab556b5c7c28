"""Reading events from PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.domain.events import Status, StoredEvent
from headrace.domain.identity import idempotency_hash, lane_of_key
from headrace.domain.ids import lane_of_id, sequence_of_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.refs import find_ref
from headrace.store.contract import REPEATS_KEPT, EventFilter, EventPage, KeyRepeat
from headrace.store.postgres.database import Connection, Database
from headrace.store.postgres.event_lists import (
    LINE_LENGTH,
    OUTCOME,
    ROWS_EXAMINED_MAX,
    STATUS,
    list_query,
)
from headrace.store.postgres.transaction import PostgresTransaction

_OF_EVENT = (
    "sequence, id, project_id, event, contact_id, external_id, email, email_original, "
    "idempotency_key, occurred_us, received_us, source, api_key_id, request_id, payload"
)
_NAMES = (
    *(name.strip() for name in _OF_EVENT.split(",")),
    *("resolved_contact_id", "attempts", "last_error", "status"),
)
#: Of the tables that `OUTCOME` joins to events `e`.
COLUMNS = (
    ", ".join(f"e.{name.strip()}" for name in _OF_EVENT.split(","))
    + f", o.contact_id, coalesce(o.attempts, 0), o.last_error, {STATUS}"
)

GET = (
    f"SELECT {COLUMNS} FROM events e{OUTCOME} "  # noqa: S608
    "WHERE e.lane = $1 AND e.sequence = $2 AND e.id = $3 AND e.project_id = $4"
)
# Apart from the event, which lies in a lane of its own: on a cluster that is another node.
FIND_KEY = "SELECT event_lane, event_sequence FROM idempotency_keys WHERE lane = $1 AND hash = $2"
GET_OF_KEY = (
    f"SELECT {COLUMNS} FROM events e{OUTCOME} "  # noqa: S608
    "WHERE e.lane = $1 AND e.sequence = $2 AND e.project_id = $3 AND e.idempotency_key = $4"
)
AFTER = (
    f"SELECT {COLUMNS} FROM events e{OUTCOME} "  # noqa: S608
    "WHERE e.project_id = $1 AND e.sequence > $2 ORDER BY e.sequence LIMIT $3"
)
# Of one contact; asked for each that is one with it, since an index holds each in its own order.
OF_CONTACT = (
    f"SELECT {COLUMNS} FROM outcomes o "  # noqa: S608
    "JOIN events e ON e.lane = o.lane AND e.sequence = o.sequence "
    "LEFT JOIN work w ON w.lane = e.lane AND w.sequence = e.sequence "
    "WHERE o.project_id = $1 AND o.contact_id = $2 AND o.sequence < $3 "
    "ORDER BY o.sequence DESC LIMIT $4"
)
_AFTER_ALL = (1 << 63) - 1
_REPEATS = (
    "SELECT at_us, api_key_id, request_id, mismatch FROM key_repeats "  # noqa: S608
    f"WHERE lane = $1 AND sequence = $2 ORDER BY number LIMIT {REPEATS_KEPT}"
)
# Walks the index by project, one project after the other: sequences alone have no index, since
# every unique key starts with the lane.
_NEXT_PROJECT = "SELECT project_id FROM events WHERE project_id > $1 ORDER BY project_id LIMIT 1"
_LAST_OF_PROJECT = "SELECT max(sequence) FROM events WHERE project_id = $1"


def stored_event(row: Sequence[Any]) -> StoredEvent:
    """An event from `COLUMNS`."""
    return StoredEvent(**dict(zip(_NAMES, row, strict=True)))


class PostgresEvents:
    """See `headrace.store.contract.EventStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_sequence(self) -> int:
        return await self._database.read(last_sequence)

    async def get(self, project_id: int, event_id: bytes) -> StoredEvent | None:
        lane, sequence = lane_of_id(event_id), sequence_of_id(event_id)
        return await self._one(GET, lane, sequence, event_id, project_id)

    async def get_by_key(self, project_id: int, idempotency_key: str) -> StoredEvent | None:
        hashed = idempotency_hash(project_id, idempotency_key)

        async def read(connection: Connection) -> Any:
            place = await connection.fetchrow(FIND_KEY, lane_of_key(hashed), hashed)
            if place is None:
                return None
            return await connection.fetchrow(GET_OF_KEY, *place, project_id, idempotency_key)

        row = await self._database.read(read)
        return None if row is None else stored_event(row)

    async def list(
        self, project_id: int, wanted: EventFilter, *, before: int | None, limit: int
    ) -> EventPage:
        async def read(connection: Connection) -> EventPage:
            short_line = False
            if wanted.status == Status.ACCEPTED:
                short_line = await connection.fetchval(LINE_LENGTH, project_id) <= ROWS_EXAMINED_MAX
            query = list_query(project_id, wanted, before, short_line=short_line)
            floor = None
            floor_text = query.floor_text()
            if floor_text is not None:
                values = query.values[: _parameters(floor_text)]
                floor = await connection.fetchval(floor_text, *values)
            text = query.text(COLUMNS, limit + 1, floor)
            rows = await connection.fetch(text, *query.values)
            events = [stored_event(row) for row in rows[:limit]]
            return EventPage(events, events[-1].sequence if len(rows) > limit else floor)

        return await self._database.read(read)

    async def of_contact(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> EventPage | None:
        place = _AFTER_ALL if before is None else before

        async def read(connection: Connection) -> EventPage | None:
            contact = await find_ref(PostgresTransaction(connection), project_id, contact_id)
            if contact is None:
                return None
            ids = await ids_of(PostgresTransaction(connection), contact.id)
            events: list[StoredEvent] = []
            for one in ids:
                rows = await connection.fetch(OF_CONTACT, project_id, one, place, limit + 1)
                events += map(stored_event, rows)
            events.sort(key=lambda event: -event.sequence)
            more = len(events) > limit
            return EventPage(events[:limit], events[limit - 1].sequence if more else None)

        return await self._database.read(read)

    async def after(self, project_id: int, sequence: int, limit: int) -> Sequence[StoredEvent]:
        async def read(connection: Connection) -> Sequence[StoredEvent]:
            rows = await connection.fetch(AFTER, project_id, sequence, limit)
            return [stored_event(row) for row in rows]

        return await self._database.read(read)

    async def repeats(self, event: StoredEvent) -> Sequence[KeyRepeat]:
        async def read(connection: Connection) -> Sequence[KeyRepeat]:
            rows = await connection.fetch(_REPEATS, lane_of_id(event.id), event.sequence)
            return [KeyRepeat(at, key, request, other) for at, key, request, other in rows]

        return await self._database.read(read)

    async def _one(self, sql: str, *values: Any) -> StoredEvent | None:
        row = await self._database.read(lambda connection: connection.fetchrow(sql, *values))
        return None if row is None else stored_event(row)


async def last_sequence(connection: Connection) -> int:
    """The highest sequence stored, 0 in an empty store."""
    highest = project_id = 0
    while True:
        found = await connection.fetchval(_NEXT_PROJECT, project_id)
        if found is None:
            return highest
        project_id = int(found)
        highest = max(highest, int(await connection.fetchval(_LAST_OF_PROJECT, project_id) or 0))


def _parameters(text: str) -> int:
    """How many parameters a statement of a list has; those of `leading` are the first ones."""
    return 2 if "$2" in text else 1
