"""Events of one person, found by the person's identifiers, and what is kept about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.ids import SYSTEM_COUNTER
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import Statement, sql, to_sqlite
from headrace.store.engine.transaction import Row, Transaction
from headrace.store.events.parts import from_parts, part_of, unindexed
from headrace.store.privacy.rows import Subject

#: Lane and sequence of an event.
Place = tuple[int, int]
#: Total size of payloads that are read at once.
PAYLOAD_BYTES_MAX = 2 * 1024 * 1024

# `&` is the bit that distinguishes system events: each kind has its own bound.
_UP_TO = (
    "e.sequence > $3 AND e.sequence <= $4 "
    f"AND e.sequence <= CASE e.sequence & {SYSTEM_COUNTER:d} "
    "WHEN 0 THEN $5::bigint ELSE $6::bigint END"
)


def _page_of(table: str, column: str, sqlite_column: str = "") -> Statement:
    text = (
        "SELECT e.lane, e.sequence FROM {tables} WHERE e.project_id = $1 AND e.{column} = $2 "
        "AND e.{column} IS NOT NULL AND {bounds} LIMIT $7"
    )
    return sql(
        text.format(tables=f"{table} e", column=column, bounds=f"{_UP_TO} ORDER BY e.sequence"),
        sqlite=to_sqlite(
            text.format(
                tables=from_parts("events", "e"),
                column=sqlite_column or column,
                bounds=f"{_UP_TO} AND p.part >= {part_of('$3')} ORDER BY p.part, e.sequence",
            )
        ),
    )


#: One value at a time: an index orders the events of each value.
PAGES = {
    "contact_id": _page_of("events", "contact_id"),
    "external_id": _page_of("events", "external_id"),
    "email": _page_of("events", "email"),
    # SQLite keeps the state of an event in the event's own row.
    "resolved": _page_of("event_states", "contact_id", "resolved_contact_id"),
}
#: Of what no worker has processed: it is resolved to nobody.
PAGES_REST = {
    name: unindexed("e.lane, e.sequence", f"AND (e.{name} = $2) IS TRUE AND {_UP_TO}", "LIMIT $7")
    for name in ("contact_id", "external_id", "email")
}
_COUNTS = f"($3::boolean OR e.sequence & {SYSTEM_COUNTER:d} = 0)"


def _any_of(table: str, column: str, sqlite_column: str = "") -> Statement:
    text = (
        "SELECT 1 FROM {tables} WHERE e.project_id = $1 AND e.{column} = $2 "
        f"AND e.{{column}} IS NOT NULL AND {_COUNTS} LIMIT 1"
    )
    in_parts = text.format(tables=from_parts("events", "e"), column=sqlite_column or column)
    return sql(text.format(tables=f"{table} e", column=column), sqlite=to_sqlite(in_parts))


HAD_EVENTS = (
    _any_of("events", "contact_id"),
    _any_of("event_states", "contact_id", "resolved_contact_id"),
    unindexed("1", f"AND (e.contact_id = $2) IS TRUE AND {_COUNTS}", "LIMIT 1"),
)


def of_events(columns: str, table: str, order: str = "t.sequence") -> Statement:
    """A statement that reads rows of a table for some events, given by lanes and sequences."""
    return sql(
        f"SELECT {columns} FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
        f"JOIN {table} t ON t.lane = k.lane AND t.sequence = k.sequence ORDER BY {order}",
        # On SQLite the sequence alone is the key, and not all tables have a lane.
        sqlite=f"SELECT {columns} FROM json_each(?2) k "
        f"CROSS JOIN {table} t ON t.sequence = k.value ORDER BY {order}",
    )


SIZES = of_events("t.lane, t.sequence, octet_length(t.payload)", "events")
_IDENTITY = "e.sequence, e.event, e.source, e.contact_id, e.external_id, e.email, e.email_original"
IDENTITIES = sql(
    f"SELECT {_IDENTITY}, o.contact_id, e.payload "
    "FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence) "
    "JOIN events e ON e.lane = k.lane AND e.sequence = k.sequence "
    "LEFT JOIN event_states o ON o.lane = e.lane AND o.sequence = e.sequence ORDER BY e.sequence",
    sqlite=f"SELECT {_IDENTITY}, e.resolved_contact_id, e.payload FROM json_each(?2) k "
    "CROSS JOIN events e ON e.sequence = k.value ORDER BY e.sequence",
)


class Removed(msgspec.Struct, frozen=True):
    """What one call removed."""

    events: Sequence[Place]
    #: Rows by place.
    counts: dict[str, int]


class EventIdentity(msgspec.Struct, frozen=True):
    """The identifiers of an event."""

    sequence: int
    event: str
    source: int
    contact_id: str | None
    external_id: str | None
    email: str | None
    email_original: str | None
    resolved_contact_id: str | None
    payload: str


async def had_events(
    tx: Transaction, project_id: int, contact_ids: Sequence[str], *, system: bool
) -> bool:
    """Whether events with these contact ids, or resolved to them, are kept.

    Args:
        system: whether system events count.
    """
    for each in contact_ids:
        for statement in HAD_EVENTS:
            if await tx.rows(statement, project_id, each, system):
                return True
    return False


async def page_of_person(tx: Transaction, subject: Subject, after: int, limit: int) -> list[Place]:
    """The next events of a person, in order of receipt, each once."""
    wanted = {
        "contact_id": subject.contact_ids,
        "resolved": subject.contact_ids,
        "external_id": subject.external_ids,
        "email": subject.emails,
    }
    found: set[Place] = set()
    for name, values in wanted.items():
        for value in values:
            asked = (subject.project_id, value, after, *subject.bounds, limit)
            rows = list(await tx.rows(PAGES[name], *asked))
            if name in PAGES_REST:
                rows += await tx.rows(PAGES_REST[name], *asked)
            found |= {(row[0], row[1]) for row in rows}
            if len(found) > limit:
                found = set(sorted(found, key=lambda place: place[1])[:limit])
    return sorted(found, key=lambda place: place[1])


async def chunks_of_events(tx: Transaction, places: Sequence[Place]) -> list[list[Place]]:
    """The same events in chunks of at most `PAYLOAD_BYTES_MAX` of payload, or one event."""
    sizes: Sequence[Row] = await tx.rows(SIZES, *columns_of(places, 2))
    chunks: list[list[Place]] = []
    room = 0
    for lane, sequence, size in sizes:
        if not chunks or size > room:
            chunks.append([])
            room = PAYLOAD_BYTES_MAX
        chunks[-1].append((lane, sequence))
        room -= size
    return chunks


async def identities(tx: Transaction, places: Sequence[Place]) -> list[EventIdentity]:
    """Identifiers of events, in order of receipt."""
    rows: Sequence[Any] = await tx.rows(IDENTITIES, *columns_of(places, 2))
    return [EventIdentity(*row) for row in rows]
