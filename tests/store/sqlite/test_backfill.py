"""A store from before schema 14 gets its parts and keys, and goes on after an interruption."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.event import NewEvent, Status
from headrace.store import sqlite as sqlite_store
from headrace.store.contract.errors import StoreSetupError
from headrace.store.contract.events import EventFilter
from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.migrations import migrations
from headrace.store.queues.sqlite import backfill as backfill_module
from headrace.store.queues.sqlite import parts
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

BEFORE = 13
EVENTS = 100
_COLUMNS = NewEvent.__struct_fields__


class StoppedError(OSError):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parts, backfill_module):
        monkeypatch.setattr(module, "PART_EVENTS", 30)
    monkeypatch.setattr(backfill_module, "KEYS", 7)
    monkeypatch.setattr(backfill_module, "EVENTS", 9)


@pytest.fixture
def events() -> list[NewEvent]:
    """Every third has no idempotency key."""
    return [new_event(key=f"order-{n}" if n % 3 else None) for n in range(EVENTS)]


@pytest.fixture
def place(tmp_path: Path, events: list[NewEvent]) -> SqlitePlace:
    """A store of schema 13: the last twenty events have not been processed."""
    made = SqlitePlace(tmp_path / "old")
    made.path.parent.mkdir(parents=True)
    with contextlib.closing(open_writer(str(made.path))) as connection:
        for step in migrations("sqlite"):
            if step.number <= BEFORE:
                connection.execute(step.sql)
                connection.pragma("user_version", step.number)
        marks = ", ".join("?" * len(_COLUMNS))
        rows = [[getattr(event, name) for name in _COLUMNS] for event in events]
        connection.executemany(f"INSERT INTO events ({', '.join(_COLUMNS)}) VALUES ({marks})", rows)
        last = events[-21].sequence
        connection.execute(
            "UPDATE events SET status = ? WHERE sequence <= ?", (int(Status.PROCESSED), last)
        )
        connection.execute("DELETE FROM event_queue WHERE sequence <= ?", (last,))
    return made


@pytest.fixture
def session(place: SqlitePlace) -> Iterator[StoreSession]:
    opened = StoreSession(place)
    yield opened
    opened.close()


def check_all_found(session: StoreSession, events: list[NewEvent]) -> None:
    page = session.run(session.store.events.list(1, EventFilter(), before=None, limit=EVENTS))
    assert [event.id for event in page.events] == [event.id for event in reversed(events)]
    wanted = EventFilter(external_id="customer-1", status=Status.PROCESSED)
    page = session.run(session.store.events.list(1, wanted, before=None, limit=EVENTS))
    assert [event.id for event in page.events] == [event.id for event in reversed(events[:-20])]
    again = [new_event(key=event.idempotency_key) for event in events if event.idempotency_key]
    assert all(first is not None for first in session.accept(*again))


def test_everything_is_found_as_before(session: StoreSession, events: list[NewEvent]) -> None:
    check_all_found(session, events)


def test_parts_are_ranges_of_sequences(session: StoreSession) -> None:
    rows = session.place.run_sql(
        "SELECT e.part, min(e.sequence), max(e.sequence), count(*), p.first_sequence "
        "FROM events e JOIN event_parts p ON p.part = e.part GROUP BY e.part ORDER BY e.part"
    )
    assert sum(count for _, _, _, count, _ in rows) == EVENTS
    assert len(rows) > 2
    for (_, _, last, _, _), (_, first, _, _, begin) in itertools.pairwise(rows):
        assert last < begin <= first


def test_an_interrupted_one_goes_on_at_the_next_start(
    place: SqlitePlace, events: list[NewEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops inside a transaction and after it, again and again."""
    reached: list[int] = []

    def stop(moved: int, _total: int) -> None:
        reached.append(moved)
        raise StoppedError

    def stop_inside(_name: str) -> None:
        raise StoppedError

    while not reached or _is_unfinished(place):
        with monkeypatch.context() as patched:
            patched.setattr(backfill_module, "fail_point", stop_inside)
            with pytest.raises(StoreSetupError, match="opened"):
                sqlite_store.open_store(place.path, serve=True)
        with pytest.raises(StoreSetupError, match="opened"):
            sqlite_store.open_store(place.path, serve=True, report=stop)
    assert reached == sorted(reached)
    assert len(set(reached)) > 20
    session = StoreSession(place)
    check_all_found(session, events)
    session.close()


def _is_unfinished(place: SqlitePlace) -> bool:
    return place.run_sql("SELECT count(*) FROM meta WHERE name = 'backfill'") == [(1,)]
