"""Every table and column of both stores is copied, or left out with a reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from apsw.ext import query_info

from headrace.store.migrations import migrations
from headrace.store.transfer.plan import COPIED, LEFT_BEHIND, LEFT_BEHIND_COLUMNS, LEFT_EMPTY
from headrace.store.transfer.source import make_functions
from tests.support.places import PostgresPlace


@pytest.fixture(scope="module")
def source() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for step in migrations("sqlite"):
        connection.execute(step.sql)
    make_functions(connection)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Table -> its columns."""
    place = PostgresPlace(Path(tmp_path_factory.mktemp("place")))
    found = defaultdict(set)
    for table, column in place.run_sql(
        "SELECT table_name, column_name FROM information_schema.columns "
        "JOIN information_schema.tables USING (table_schema, table_name) "
        "JOIN pg_class ON relname = table_name AND relnamespace = 'public'::regnamespace "
        "WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND NOT relispartition"
    ):
        found[table].add(column)
    yield found
    place.remove()


def source_columns(source: apsw.Connection) -> dict[str, set[str]]:
    tables = source.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {
        str(table): {str(row[1]) for row in source.execute(f"PRAGMA table_info({table})")}
        for (table,) in tables
    }


def columns_read(source: apsw.Connection) -> dict[str, set[str]]:
    """The columns that the statements read, reported by SQLite."""
    read = defaultdict(set)

    def note(
        action: int, table: str | None, column: str | None, _database: str | None, _by: str | None
    ) -> int:
        if action == apsw.SQLITE_READ and table and column:
            read[table].add(column)
        return apsw.SQLITE_OK

    source.authorizer = note
    try:
        for copied in COPIED:
            source.execute(copied.sql)
    finally:
        source.authorizer = None
    return read


def test_every_table_of_the_source_is_read_to_the_last_column(source: apsw.Connection) -> None:
    read = columns_read(source)
    there = source_columns(source)
    assert set(read) & set(LEFT_BEHIND) == set()
    for table, columns in there.items():
        if table not in LEFT_BEHIND:
            assert columns == read[table] | set(LEFT_BEHIND_COLUMNS.get(table, {})), table
    assert set(LEFT_BEHIND) <= set(there)


def test_every_table_of_the_target_is_filled_to_the_last_column(
    source: apsw.Connection, target: dict[str, set[str]]
) -> None:
    filled = {}
    for copied in COPIED:
        description = query_info(source, copied.sql).description
        filled[copied.table] = {column[0] for column in description}
    assert set(filled) | set(LEFT_EMPTY) == set(target)
    assert not set(filled) & set(LEFT_EMPTY)
    for table, columns in filled.items():
        assert columns == target[table], table


def test_order_of_rows_is_stable() -> None:
    """An interrupted copy continues after the rows that it has counted."""
    assert [copied.table for copied in COPIED if " ORDER BY " not in copied.sql] == []


def test_projects_come_before_what_refers_to_them() -> None:
    tables = [copied.table for copied in COPIED]
    for table in ("api_keys", "policies", "members"):
        assert tables.index("projects") < tables.index(table)
