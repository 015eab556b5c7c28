"""Checks that tables which change much are vacuumed as often as they need it."""

from __future__ import annotations

from typing import Any

#: Tables whose migrations set these for them: the defaults suit small tables. Partitions of
#: events are not among them: each ends long before it is too large for the defaults.
EXPECTED = {
    "event_queue": ("autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold"),
    "deliveries": ("autovacuum_vacuum_scale_factor",),
    "recent_keys": ("autovacuum_vacuum_scale_factor", "autovacuum_vacuum_threshold"),
    "sorted_keys": (
        "autovacuum_vacuum_scale_factor",
        "autovacuum_vacuum_insert_scale_factor",
    ),
}
_SETTINGS = "SELECT name FROM pg_settings WHERE name = ANY($1::text[]) AND setting = 'off'"
_NEEDED = ["autovacuum", "track_counts"]
_OPTIONS = (
    "SELECT relname, coalesce(reloptions, '{}') FROM pg_class "
    "WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
    "AND (relname = ANY($1::text[]) OR 'autovacuum_enabled=false' = ANY(reloptions) "
    "OR 'autovacuum_enabled=off' = ANY(reloptions)) ORDER BY relname"
)


async def vacuum_problems(connection: Any) -> list[str]:
    """What keeps tables from being vacuumed in time, a line each; empty when nothing does."""
    found = [f"{row[0]} is off" for row in await connection.fetch(_SETTINGS, _NEEDED)]
    for table, options in await connection.fetch(_OPTIONS, list(EXPECTED)):
        values = dict(option.split("=", 1) for option in options)
        if values.get("autovacuum_enabled") in ("false", "off"):
            found.append(f"autovacuum of {table} is off")
        found += [
            f"{table} has no {name}" for name in EXPECTED.get(table, ()) if name not in values
        ]
    return found
