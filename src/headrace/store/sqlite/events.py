"""Reading events from the embedded store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import apsw

from headrace.domain.events import Status, StoredEvent
from headrace.domain.identity import idempotency_hash
from headrace.domain.ids import sequence_of_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.refs import find_ref
from headrace.store.contract import REPEATS_KEPT, EventFilter, EventPage, KeyRepeat
from headrace.store.engine.transaction import drive
from headrace.store.sqlite.event_lists import HELD, ROWS_EXAMINED_MAX, ListQuery, list_query
from headrace.store.sqlite.readers import Readers
from headrace.store.sqlite.transaction import SqliteTransaction

_STORED = (
    "sequence, id, project_id, event, contact_id, external_id, email, email_original, "
    "idempotency_key, occurred_us, received_us, source, api_key_id, request_id, payload, "
    "resolved_contact_id, attempts, last_error"
)
_NAMES = (*(name.strip() for name in _STORED.split(",")), "status")
#: `processing` is not written into the event, which is marked once: it is an accepted event whose
#: work somebody holds.
COLUMNS = (
    f"{_STORED}, CASE WHEN status = {Status.ACCEPTED:d} AND {HELD} "
    f"THEN {Status.PROCESSING:d} ELSE status END"
)

_GET = f"SELECT {COLUMNS} FROM events WHERE sequence = ? AND id = ? AND project_id = ?"  # noqa: S608
_GET_BY_KEY = (
    f"SELECT {COLUMNS} FROM events "  # noqa: S608
    "WHERE idempotency_hash = ? AND project_id = ? AND idempotency_key = ?"
)
_AFTER = (
    f"SELECT {COLUMNS} FROM events "  # noqa: S608
    "WHERE project_id = ? AND sequence > ? ORDER BY sequence LIMIT ?"
)
# One contact at a time: over several, SQLite would read all of their events to sort them.
OF_CONTACT = (
    "SELECT sequence FROM events WHERE project_id = ? AND resolved_contact_id = ? "
    "AND resolved_contact_id IS NOT NULL AND sequence < ? ORDER BY sequence DESC LIMIT ?"
)
_THESE = (
    f"SELECT {COLUMNS} FROM events WHERE sequence IN (SELECT value FROM json_each(?)) "  # noqa: S608
    "ORDER BY sequence DESC"
)
_AFTER_ALL = (1 << 63) - 1
_REPEATS = (
    "SELECT at_us, api_key_id, request_id, mismatch FROM key_repeats "  # noqa: S608
    f"WHERE sequence = ? ORDER BY number LIMIT {REPEATS_KEPT}"
)


def stored_event(row: Sequence[Any]) -> StoredEvent:
    return StoredEvent(**dict(zip(_NAMES, row, strict=True)))


class SqliteEvents:
    """See `headrace.store.contract.EventStore`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    async def last_sequence(self) -> int:
        row = await self._one("SELECT max(sequence) FROM events")
        return int(row[0] or 0) if row else 0

    async def get(self, project_id: int, event_id: bytes) -> StoredEvent | None:
        row = await self._one(_GET, sequence_of_id(event_id), event_id, project_id)
        return None if row is None else stored_event(row)

    async def get_by_key(self, project_id: int, idempotency_key: str) -> StoredEvent | None:
        found = idempotency_hash(project_id, idempotency_key)
        row = await self._one(_GET_BY_KEY, found, project_id, idempotency_key)
        return None if row is None else stored_event(row)

    async def list(
        self, project_id: int, wanted: EventFilter, *, before: int | None, limit: int
    ) -> EventPage:
        query = list_query(project_id, wanted, before)
        return await self._readers.run(lambda connection: _page(connection, query, limit))

    async def of_contact(
        self, project_id: int, contact_id: str, *, before: int | None, limit: int
    ) -> EventPage | None:
        def read(connection: apsw.Connection) -> EventPage | None:
            contact = drive(find_ref(SqliteTransaction(connection), project_id, contact_id))
            if contact is None:
                return None
            ids = drive(ids_of(SqliteTransaction(connection), contact.id))
            rows: list[Any] = []
            for each in ids:
                values = (project_id, each, _AFTER_ALL if before is None else before, limit + 1)
                rows += connection.execute(OF_CONTACT, values)
            sequences = sorted((row[0] for row in rows), reverse=True)[: limit + 1]
            shown = json.dumps(sequences[:limit])
            events = [stored_event(row) for row in connection.execute(_THESE, (shown,))]
            return EventPage(events, sequences[limit - 1] if len(sequences) > limit else None)

        return await self._readers.run(read)

    async def after(self, project_id: int, sequence: int, limit: int) -> Sequence[StoredEvent]:
        def read(connection: apsw.Connection) -> list[StoredEvent]:
            return [
                stored_event(row)
                for row in connection.execute(_AFTER, (project_id, sequence, limit))
            ]

        return await self._readers.run(read)

    async def repeats(self, event: StoredEvent) -> Sequence[KeyRepeat]:
        def read(connection: apsw.Connection) -> list[KeyRepeat]:
            rows = connection.execute(_REPEATS, (event.sequence,))
            return [KeyRepeat(at, key, request, bool(other)) for at, key, request, other in rows]

        return await self._readers.run(read)

    async def _one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        return await self._readers.run(
            lambda connection: connection.execute(sql, values).fetchone()
        )


def _page(connection: apsw.Connection, query: ListQuery, limit: int) -> EventPage:
    floor = _floor(connection, query)
    tests = [*query.leading, *query.others]
    if floor is not None:
        tests.append(f"sequence >= {floor:d}")
    sql = (
        f"SELECT {COLUMNS} FROM events WHERE {' AND '.join(tests)} "  # noqa: S608
        f"ORDER BY sequence DESC LIMIT {limit + 1}"
    )
    rows = connection.execute(sql, query.values).fetchall()
    events = [stored_event(row) for row in rows[:limit]]
    return EventPage(events, events[-1].sequence if len(rows) > limit else floor)


def _floor(connection: apsw.Connection, query: ListQuery) -> int | None:
    """Where this page stops looking, None when it can look to the end."""
    if not query.others:
        return None
    sql = (
        f"SELECT sequence FROM events WHERE {' AND '.join(query.leading)} "  # noqa: S608
        f"ORDER BY sequence DESC LIMIT 1 OFFSET {ROWS_EXAMINED_MAX}"
    )
    values = {name: value for name, value in query.values.items() if name in query.leading_names}
    row = connection.execute(sql, values).fetchone()
    return None if row is None else row[0]
