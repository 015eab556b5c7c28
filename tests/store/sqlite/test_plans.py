"""No method of the store scans a table that grows: every statement is explained.

The statements are collected while the methods of the store run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace.domain.events.event import StoredEvent
from headrace.store import sqlite as sqlite_store
from headrace.store.contract.events import EventFilter
from headrace.store.engine.sqlite import readers
from headrace.store.queues.sqlite.keys import open_keys
from tests.support.events import START_US, as_stored, new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

#: These grow with traffic; a few projects and policies may be scanned.
GROWING = ("events", "event_queue", "duplicate_requests")
#: Text and bound values.
Statement = tuple[str, Any]

_SCAN = re.compile(r"SCAN (\w+)")

FILTERS = {
    "event": "order.completed",
    "contact_id": "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10",
    "external_id": "customer-1",
    "email": "a@one.example",
    "status": 2,
    "source": 1,
    "delivery_status": 4,
    "occurred_after_us": START_US,
    "occurred_before_us": START_US + 9,
    "received_after_us": START_US,
    "received_before_us": START_US + 9,
}


class Explained:
    """A filled store whose statements are collected."""

    def __init__(
        self, session: StoreSession, statements: list[Statement], event: StoredEvent
    ) -> None:
        self.session = session
        self.event = event
        self._statements = statements
        self._connection = apsw.Connection(str(_path(session)))
        open_keys(self._connection)

    def plans(self) -> dict[str, list[str]]:
        """Plan of each statement run since the last call."""
        found = {sql: self.plan(sql, values) for sql, values in self._statements if _is_work(sql)}
        self._statements.clear()
        assert found
        return found

    def plan(self, sql: str, values: Any = None) -> list[str]:
        rows = self._connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        return [str(row[3]) for row in rows]

    def close(self) -> None:
        self._connection.close()


def _path(session: StoreSession) -> Path:
    assert isinstance(session.place, SqlitePlace)
    return session.place.path


def _is_work(sql: str) -> bool:
    return sql.split(maxsplit=1)[0].upper() not in {"BEGIN", "COMMIT", "ROLLBACK", "PRAGMA"}


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explained]:
    statements: list[Statement] = []

    def collect(_cursor: apsw.Cursor, sql: str, values: Any) -> bool:
        statements.append((sql, values))
        return True

    with pytest.MonkeyPatch.context() as patched:
        for module, opener in ((readers, "open_reader"), (sqlite_store, "open_writer")):
            original = getattr(module, opener)

            def traced(path: str, original: object = original) -> apsw.Connection:
                connection: apsw.Connection = original(path)  # type: ignore[operator]
                connection.exec_trace = collect
                return connection

            patched.setattr(module, opener, traced)
        session = StoreSession(SqlitePlace(tmp_path_factory.mktemp("plans")))
        session.run(session.store.projects.create("one", START_US, actor="test"))
        for part in range(10):
            session.accept(
                *(
                    new_event(key=f"k{part}.{n}", email="a@one.example", source=n % 2)
                    for n in range(500)
                )
            )
        event = new_event(key="one")
        session.accept(event)
        session.accept(new_event(key="one"))
        statements.clear()
        made = Explained(session, statements, as_stored(event))
        yield made
        made.close()
        session.close()


def assert_indexed(plans: dict[str, list[str]]) -> None:
    for sql, plan in plans.items():
        for step in plan:
            scanned = _SCAN.match(step)
            assert scanned is None or scanned[1] not in GROWING, (sql, plan)
            # Sorting means that every match is read before the first row is returned.
            assert "TEMP B-TREE" not in step, (sql, plan)


def of_parts(plans: dict[str, list[str]]) -> list[list[str]]:
    """The plans of statements that find events by their parts; at least one.

    The others find events that no worker has processed in the queue, or count keys: the writer
    does so when it has nothing else to do.
    """
    found = [plan for statement, plan in plans.items() if "event_parts p CROSS JOIN" in statement]
    assert found
    return found


def _combinations() -> Iterator[tuple[str, ...]]:
    for size in range(len(FILTERS) + 1):
        yield from itertools.combinations(FILTERS, size)


@pytest.mark.parametrize("before", [None, 1 << 60])
def test_every_combination_of_filters_is_served_by_an_index(
    explained: Explained, before: int | None
) -> None:
    session = explained.session
    for names in _combinations():
        wanted = EventFilter(**{name: FILTERS[name] for name in names})  # type: ignore[arg-type]
        session.run(session.store.events.list(1, wanted, before=before, limit=5))
    assert_indexed(explained.plans())


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("external_id", "events_external_id"),
        ("email", "events_email"),
        ("status", "events_status"),
        ("source", "events_source"),
        ("event", "events_name"),
    ],
)
def test_a_filter_is_served_by_its_own_index(explained: Explained, name: str, index: str) -> None:
    session = explained.session
    wanted = EventFilter(**{name: FILTERS[name]})  # type: ignore[arg-type]
    session.run(session.store.events.list(1, wanted, before=None, limit=5))
    for plan in of_parts(explained.plans()):
        assert any(f"INDEX {index} " in step for step in plan), plan


def test_events_of_a_contact_are_found_by_two_indexes(explained: Explained) -> None:
    session = explained.session
    wanted = EventFilter(contact_id=str(FILTERS["contact_id"]), status=2)
    session.run(session.store.events.list(1, wanted, before=None, limit=5))
    plans = explained.plans()
    assert_indexed(plans)
    steps = {step for plan in plans.values() for step in plan}
    for index in ("events_contact_id", "events_resolved_contact"):
        assert any(f"INDEX {index} " in step for step in steps), steps
    assert not any("events_project" in step for step in steps)


def test_the_most_selective_filter_chooses_the_index(explained: Explained) -> None:
    session = explained.session
    wanted = EventFilter(event="order.completed", status=0, email="a@one.example")
    session.run(session.store.events.list(1, wanted, before=None, limit=5))
    for plan in of_parts(explained.plans()):
        assert any("INDEX events_email " in step for step in plan), plan


def test_look_ups_are_served_by_an_index(explained: Explained) -> None:
    session, event = explained.session, explained.event
    events = session.store.events
    session.run(events.get(1, event.id))
    session.run(events.get_by_key(1, "one"))
    session.run(events.after(1, event.sequence - 5, 5))
    session.run(events.repeats(event))
    session.run(events.last_sequence())
    plans = explained.plans()
    assert len(plans) == 7
    assert_indexed(plans)


@pytest.mark.parametrize("status", [0, 1])
def test_events_that_wait_are_found_from_the_queue(explained: Explained, status: int) -> None:
    session = explained.session
    wanted = EventFilter(status=status, event="order.completed")
    page = session.run(session.store.events.list(1, wanted, before=None, limit=5))
    assert len(page.events) == (0 if status else 5)
    plans = explained.plans()
    assert any("SEARCH q USING PRIMARY KEY" in step for plan in plans.values() for step in plan)
    assert_indexed(plans)


def test_accepting_duplicates_is_served_by_an_index(explained: Explained) -> None:
    session = explained.session
    session.accept(new_event(key="one"), new_event(key="k0.1"), new_event(key="new"))
    plans = explained.plans()
    steps = {step for plan in plans.values() for step in plan}
    for table in ("recent_keys", "sorted_keys"):
        assert any(f"{table} USING PRIMARY KEY (hash=?)" in step for step in steps), steps
    assert_indexed(plans)


def test_a_missing_index_would_be_noticed(explained: Explained) -> None:
    """The check itself works."""
    plan = explained.plan("SELECT * FROM events WHERE payload = '{}' ORDER BY event")
    with pytest.raises(AssertionError):
        assert_indexed({"": plan})
