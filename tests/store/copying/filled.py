"""An embedded store with rows in every table: real events, and generated rows elsewhere."""

from __future__ import annotations

from typing import Any

from headrace.store.transfer.plan import LEFT_BEHIND
from tests.support.events import START_US, new_event
from tests.support.places import SqlitePlace
from tests.support.real_events import real_events
from tests.support.retained import add_everything
from tests.support.session import StoreSession

#: Payloads that a store which parses JSON would change.
PAYLOADS = (
    '{"total": 12.50, "total": 1e400, "big": 12345678901234567890.10}',
    '{ "b":1,\n"a":  "\\u0041\\/é😀\\u0001" }',
    "{}",
)
#: Values of a generic row by column type, and exceptions.
_BY_TYPE: dict[str, Any] = {"INTEGER": 1, "TEXT": "x", "BLOB": bytes(range(16)), "ANY": "1"}
_BY_COLUMN: dict[tuple[str, str], Any] = {
    ("contact_identifiers", "kind"): "email",
    ("contact_identifiers", "value"): "y",
    **{("rollups", column): "[1,2,3]" for column in ("counts", "accept", "processing", "delivery")},
}


def fill(place: SqlitePlace) -> None:
    """Fill every table; then close the store."""
    session = StoreSession(place)
    session.run(session.store.projects.create("shop", START_US, actor="test"))
    session.run(session.store.secret("cursors"))
    events = [
        new_event(event=real.name, payload=real.payload.decode(), key=f"k{number}")
        for number, real in enumerate(real_events())
    ]
    events += [new_event(payload=payload) for payload in PAYLOADS]
    session.accept(*events)
    session.accept(new_event(key="k1"))
    add_everything(place, events[0])
    place.run_sql(
        "UPDATE events SET status = 3, attempts = 2, resolved_contact_id = 'c', resolution = '{}', "
        "last_error = 'once', processed_us = 7 WHERE sequence = ?",
        events[0].sequence,
    )
    place.run_sql("DELETE FROM event_queue WHERE sequence = ?", events[0].sequence)
    session.close()
    _fill_the_rest(place)


def _fill_the_rest(place: SqlitePlace) -> None:
    tables = place.run_sql(
        "SELECT name FROM sqlite_schema "
        "WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    )
    for (table,) in tables:
        empty = not place.run_sql(f"SELECT 1 FROM {table} LIMIT 1")
        if empty and table not in LEFT_BEHIND:
            _fill_generic(place, table)


def _fill_generic(place: SqlitePlace, table: str) -> None:
    columns = place.run_sql(f"SELECT name, type FROM pragma_table_info('{table}')")
    values = [_BY_COLUMN.get((table, name), _BY_TYPE[kind]) for name, kind in columns]
    marks = ", ".join("?" * len(values))
    place.run_sql(f"INSERT INTO {table} VALUES ({marks})", *values)


def fill_many(place: SqlitePlace, count: int) -> None:
    """Insert this many events, quickly."""
    place.run_sql(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
        "INSERT INTO events (sequence, id, project_id, lane, event, external_id, idempotency_hash, "
        "idempotency_key, occurred_us, received_us, source, status, payload) "
        "SELECT i, randomblob(16), 1, i % 256, 'order.paid', 'p' || (i % 100), randomblob(16), "
        "'many' || i, i, i, 0, i % 5, '{\"number\": ' || i || '}' FROM n",
        count,
    )
