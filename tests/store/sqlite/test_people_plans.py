"""No statement that looks up contacts of a batch scans a table that grows."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw
import pytest

from headrace.store.migrations import migrations
from headrace.store.queues.sqlite import contact_lookup

STATEMENTS = {
    "values": contact_lookup._VALUES,
    "aliases": contact_lookup._BY_IDENTIFIER,
}


@pytest.fixture(scope="module")
def connection() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    for step in migrations("sqlite"):
        connection.execute(step.sql)
    yield connection
    connection.close()


@pytest.mark.parametrize("name", STATEMENTS)
def test_rows_are_found_by_index(connection: apsw.Connection, name: str) -> None:
    sql = STATEMENTS[name]
    numbered = set(re.findall(r"\?\d", sql))
    values = (1,) * (len(numbered) or sql.count("?"))
    steps = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert steps
    walked = [
        step
        for step in steps
        if "TEMP B-TREE" in step
        or ("SCAN" in step and not re.search(r"SCAN (j|l|json_each|\()", step))
    ]
    assert walked == []
