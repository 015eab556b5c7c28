"""Tables that a statement scans completely, on either database."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from headrace.store.engine.dialect import Statement
from tests.support.places import Place, PostgresPlace
from tests.support.postgres_plans import Step, explain

#: Only unfinished jobs, claims and paused webhooks: short whatever the size of their table.
_SHORT_INDEX = re.compile(
    "USING (COVERING )?INDEX (erasures_unfinished|replays_running|deliveries_leased"
    "|messages_leased|send_jobs_open|subscribers_paused|subscribers_paced)"
)
#: A scan of a table, not of the given values.
_SCAN = re.compile(r"SCAN (?!.*VIRTUAL TABLE)(?!\(|k\b|n\b|CONSTANT)(\S+)")
_INDEX = re.compile(r"USING (?:COVERING )?INDEX (\w+)")
_SEARCH = re.compile(r"SEARCH (\S+)")
#: Stands for rows that SQLite sorts because no index provides their order.
SORT = "a sort"
_MODES = ("force_custom_plan", "force_generic_plan")


def tables_walked(place: Place, statement: Statement, values: str) -> set[str]:
    """Tables that are scanned completely or sorted without an index.

    Args:
        place: a store; on PostgreSQL filled and analysed, so that indexes pay off.
        values: of the parameters, as PostgreSQL expressions separated by commas.
    """
    if isinstance(place, PostgresPlace):
        if not statement.postgres:
            return set()
        planned = [step for plan in _plans(place, statement, values) for step in plan]
        return {step["Relation Name"] for step in planned if step["Node Type"] == "Seq Scan"}
    if not statement.sqlite:
        return set()
    steps = _sqlite_plan(place, statement)
    details = [detail for _, _, _, detail in steps]
    found = {
        match[1]
        for detail in details
        if (match := _SCAN.match(detail)) and not _SHORT_INDEX.search(detail)
    }
    found |= {SORT for detail in details if "TEMP B-TREE" in detail}
    return found | _led_by_rows(steps)


def indexes_in_order(place: Place, statement: Statement, values: str) -> set[str]:
    """Indexes that every plan uses, none of them with a sort; see `tables_walked`."""
    if isinstance(place, PostgresPlace):
        plans = _plans(place, statement, values)
        assert not any("Sort" in step["Node Type"] for plan in plans for step in plan)
        return set.intersection(*({str(step.get("Index Name")) for step in p} for p in plans))
    details = [detail for _, _, _, detail in _sqlite_plan(place, statement)]
    assert not any("TEMP B-TREE" in detail for detail in details)
    return {match[1] for detail in details if (match := _INDEX.search(detail))}


def _plans(place: PostgresPlace, statement: Statement, values: str) -> list[list[Step]]:
    """Plans with known values, and as a prepared statement gets after several executions."""
    return [explain(place.url, statement.postgres, values, mode) for mode in _MODES]


def _sqlite_plan(place: Place, statement: Statement) -> Sequence[Sequence[Any]]:
    """`(id, parent, _, detail)` of each step."""
    rows = place.run_sql(
        f"EXPLAIN QUERY PLAN {statement.sqlite}", *[None] * statement.sqlite_values
    )
    assert rows
    return rows


def _led_by_rows(steps: Sequence[Sequence[Any]]) -> set[str]:
    """Tables in which a filter compares all rows of a project or the like with the values."""
    led: dict[int, set[str]] = {}
    found: set[str] = set()
    for _, parent, _, detail in steps:
        if match := _SEARCH.match(detail):
            led.setdefault(parent, set()).add(match[1])
        elif "VIRTUAL TABLE" in detail:
            found |= led.get(parent, set())
    return found
