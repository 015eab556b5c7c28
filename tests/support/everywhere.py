"""Looks for a word in all that a store keeps: every table of its schema, every file it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.places import Place, SqlitePlace

_SQLITE = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_POSTGRES = (
    "SELECT table_name FROM information_schema.tables "
    "WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
)


def tables(place: Place) -> list[str]:
    """Names of all tables, as the database itself lists them."""
    rows = place.run_sql(_SQLITE if isinstance(place, SqlitePlace) else _POSTGRES)
    return sorted(str(row[0]) for row in rows)


def tables_with(place: Place, word: str) -> list[str]:
    """Tables with a row that holds the word."""
    found = []
    for table in tables(place):
        rows = place.run_sql(f"SELECT * FROM {table}")
        if any(_holds(value, word) for row in rows for value in row):
            found.append(table)
    return found


def files_with(folder: Path, word: str) -> list[str]:
    """Files below a folder that hold the bytes of the word, whatever they are."""
    return sorted(
        path.name
        for path in folder.rglob("*")
        if path.is_file() and word.encode() in path.read_bytes()
    )


def _holds(value: Any, word: str) -> bool:
    if isinstance(value, bytes):
        return word.encode() in value
    return word in str(value)
