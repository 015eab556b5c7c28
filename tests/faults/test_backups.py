"""Backups as the operations page describes them, restored and served."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from headrace.domain.events.event import FirstCopy
from tests.faults.shared import OwnPlace, own_place
from tests.support.events import new_event
from tests.support.places import Place, PostgresPlace, SqlitePlace
from tests.support.postgres_standby import StandbyServer
from tests.support.real_events import real_events
from tests.support.session import StoreSession

_PAYLOADS = "SELECT payload FROM events ORDER BY sequence"


def fill(place: Place) -> list[tuple[str]]:
    """Real events, and a project; their payloads."""
    session = StoreSession(place)
    session.run(session.store.projects.create("shop", 0, actor="test"))
    events = [
        new_event(event=real.name, payload=real.payload.decode(), key=f"k{number}")
        for number, real in enumerate(real_events())
    ]
    session.accept(*events)
    session.close()
    return [(event.payload,) for event in events]


def check(place: Place, payloads: list[tuple[str]]) -> None:
    """Everything is restored, and the store works: keys are known, new events are accepted."""
    assert place.run_sql(_PAYLOADS) == payloads
    session = StoreSession(place)
    try:
        known, fresh = session.accept(new_event(key="k0"), new_event(key="after the restore"))
        assert isinstance(known, FirstCopy)
        assert fresh is None
        assert [one.name for one in session.run(session.store.projects.list())] == ["shop"]
    finally:
        session.close()


@contextmanager
def restored(place: OwnPlace) -> Iterator[PostgresPlace]:
    """A place on a standalone copy of the server made by `pg_basebackup`."""
    copy = StandbyServer(place.server)
    try:
        (copy.data / "standby.signal").unlink()
        place.server.stop(signal.SIGQUIT)
        copy.start()
        yield OwnPlace(copy, place.database)
    finally:
        copy.remove()


def test_base_backup_is_complete() -> None:
    with own_place() as place:
        payloads = fill(place)
        with restored(place) as copy:
            check(copy, payloads)


def test_a_dump_is_restored_into_an_empty_database(tmp_path: Path) -> None:
    place = PostgresPlace(tmp_path)
    payloads = fill(place)
    server = place.server
    name = server.new_database(migrated=False)
    dump = str(server.data.parent / f"{place.database}.dump")
    server.run_tool("pg_dump", "--format=custom", f"--file={dump}", place.url)
    server.run_tool("pg_restore", f"--dbname={server.url(name)}", "--exit-on-error", dump)
    copy = OwnPlace(server, name)
    check(copy, payloads)
    copy.remove()
    place.remove()


def test_online_backup_of_a_file_is_complete(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    payloads = fill(place)
    session = StoreSession(place)
    try:
        copy = SqlitePlace(tmp_path / "copy")
        copy.path.parent.mkdir(parents=True)
        # Like `.backup` of the sqlite3 tool, on an open store with a log.
        session.accept(new_event(key="in the log"))
        target, source = (apsw.Connection(str(each.path)) for each in (copy, place))
        with target.backup("main", source, "main") as backup:
            backup.step()
        target.close()
        source.close()
    finally:
        session.close()
    found = copy.run_sql("SELECT payload FROM events WHERE idempotency_key <> 'in the log'")
    assert found == payloads
    assert copy.run_sql("SELECT count(*) FROM events") == [(len(payloads) + 1,)]
