"""Reads the rows of any store without using the store's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import apsw

from tests.support.places import PostgresPlace


class Rows(Protocol):
    """A store for the checks: `events` with their states."""

    def select(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Rows of a query; values stand for question marks."""
        ...

    def integrity(self) -> str:
        """`ok`, or the errors that the database itself finds."""
        ...


class SqliteRows:
    """Of a file."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def select(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        connection = apsw.Connection(str(self._database), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(5000)
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def integrity(self) -> str:
        return str(self.select("PRAGMA integrity_check")[0][0])


class PostgresRows:
    """Of a database; events are shown with their states, as in the file."""

    _EVENTS = (
        "WITH events AS (SELECT e.*, coalesce(o.status, 0) AS status, "
        "o.contact_id AS resolved_contact_id FROM public.events e "
        "LEFT JOIN public.event_states o ON o.lane = e.lane AND o.sequence = e.sequence) "
    )

    def __init__(self, place: PostgresPlace) -> None:
        self._place = place

    def select(self, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        return self._place.run_sql(self._EVENTS + sql, *values)

    def integrity(self) -> str:
        """Every row that belongs to an event has its event."""
        for table in ("event_states", "event_queue", "deliveries", "dead_letters"):
            sql = (
                f"SELECT count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM events e "
                "WHERE e.lane = t.lane AND e.sequence = t.sequence)"
            )
            if self.select(sql) != [(0,)]:
                return f"{table} without events"
        keys = (
            "SELECT count(*) FROM events e WHERE idempotency_key IS NOT NULL AND NOT EXISTS "
            "(SELECT 1 FROM recent_keys k WHERE k.event_sequence = e.sequence) AND NOT EXISTS "
            "(SELECT 1 FROM sorted_keys k WHERE k.event_sequence = e.sequence)"
        )
        return "ok" if self.select(keys) == [(0,)] else "events without their keys"
