"""No statement of retention walks a table that grows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest

from headrace.store.migrations import migrations
from headrace.store.sqlite import retention

STATEMENTS = {
    "find events": retention.FIND_EVENTS,
    "still finished": retention.STILL_FINISHED,
    "find deliveries": retention.FIND_DELIVERIES,
    "attempts": retention.REMOVE_ATTEMPTS,
    "deliveries": retention.REMOVE_DELIVERIES,
    "dead letters of events": retention.REMOVE_DEAD_LETTERS_OF_EVENTS,
    "events": retention.REMOVE_EVENTS,
    "dead letters": retention.REMOVE_DEAD_LETTERS,
    **{f"details {n}": statement for n, statement in enumerate(retention.REMOVE_DETAILS)},
}
_PARAMETERS = re.compile(r"\?\d")


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for step in migrations("sqlite"):
        connection.execute(step.sql)
    yield connection
    connection.close()


def plan(connection: apsw.Connection, sql: str, values: object = None) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]  # type: ignore[arg-type]


def walked(steps: list[str]) -> list[str]:
    """Steps that read a table from end to end, or sort what they read."""
    return [
        step
        for step in steps
        if "TEMP B-TREE" in step
        or ("SCAN" in step and not re.search(r"SCAN (j|json_each)\b", step))
    ]


@pytest.mark.parametrize("name", STATEMENTS)
def test_retention_finds_its_rows_by_index(connection: apsw.Connection, name: str) -> None:
    sql = STATEMENTS[name]
    values = (1,) * len(set(_PARAMETERS.findall(sql)))
    steps = plan(connection, sql, values)
    assert steps
    assert walked(steps) == []
