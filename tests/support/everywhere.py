"""Searches for a word in everything a store keeps: all tables of its schema, all its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.places import Place, SqlitePlace

_SQLITE = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_POSTGRES = (
    "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
    "AND relnamespace = 'public'::regnamespace"
)


def tables(place: Place) -> list[str]:
    """Names of all tables, from the database itself."""
    rows = place.run_sql(_SQLITE if isinstance(place, SqlitePlace) else _POSTGRES)
    return sorted(str(row[0]) for row in rows)


def tables_with(place: Place, word: str) -> list[str]:
    """Tables with a row that contains the word, which has no quotes."""
    if not isinstance(place, SqlitePlace):
        # One statement, since each takes a connection of its own. Binary columns are shown in hex.
        looks = " UNION ALL ".join(
            f"(SELECT '{table}' FROM {table} t WHERE strpos(t::text, $1) > 0 "
            "OR strpos(t::text, $2) > 0 LIMIT 1)"
            for table in tables(place)
        )
        return sorted(row[0] for row in place.run_sql(looks, word, word.encode().hex()))
    found = []
    for table in tables(place):
        rows = place.run_sql(f"SELECT * FROM {table}")
        if any(_holds(value, word) for row in rows for value in row):
            found.append(table)
    return found


def files_with(folder: Path, word: str) -> list[str]:
    """Files below a folder that contain the bytes of the word, whatever their type."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and word.encode() in path.read_bytes()
    )


def _holds(value: Any, word: str) -> bool:
    if isinstance(value, bytes):
        return word.encode() in value
    return word in str(value)
