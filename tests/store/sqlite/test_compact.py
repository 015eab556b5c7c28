"""A store is replaced by a compact copy: what is kept, and what stops it."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace import faults
from headrace.config import Settings, load_settings
from headrace.http.contacts.erasures import erasure_response
from headrace.store.contract.errors import StoreBusyError, StoreError, StoreSetupError
from headrace.store.engine.sqlite import connection as connections
from headrace.store.engine.sqlite import file_wiping
from headrace.store.engine.sqlite.compact import Space
from headrace.store.engine.sqlite.connection import check_not_replaced
from headrace.store.sqlite import open_store
from headrace.stores import compact_store
from tests.support.events import new_event
from tests.support.everywhere import files_with
from tests.support.forgetting import CANARY, EMAIL, People, X
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

EVENTS = 300
PRAGMAS = ("user_version", "application_id", "page_size", "auto_vacuum", "encoding", "journal_mode")
POINTS = (
    "compact_checking",
    "compact_copying",
    "compact_copied",
    "compact_synced",
    "compact_log_removed",
)


@pytest.fixture
def place(tmp_path: Path) -> SqlitePlace:
    """A closed store in which half of the pages are free."""
    made = SqlitePlace(tmp_path)
    session = StoreSession(made)
    session.accept(
        *(new_event(key=f"k{n}", payload=json.dumps({"text": "x" * 2000})) for n in range(EVENTS))
    )
    session.close()
    # Enough rows for a copy to report its progress.
    made.run_sql(
        "INSERT INTO meta (name, value) WITH RECURSIVE n (i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) SELECT i, i FROM n"
    )
    made.run_sql("DELETE FROM events WHERE sequence IN (SELECT sequence FROM events LIMIT 150)")
    return made


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS_MAX", 0)


def settings_of(place: SqlitePlace) -> Settings:
    return load_settings({"store": place.url}, {})


def compact(place: SqlitePlace, reports: list[tuple[int, str]] | None = None) -> tuple[Space, int]:
    reports = [] if reports is None else reports
    with compact_store(settings_of(place)) as (space, run):
        return space, run(lambda done, words: reports.append((done, words)))


def content(place: SqlitePlace) -> dict[str, Any]:
    """All rows by table, and what the header of the file says."""
    connection = apsw.Connection(str(place.path))
    try:
        schema = connection.execute("SELECT type, name, sql FROM sqlite_schema").fetchall()
        tables = [name for kind, name, _ in schema if kind == "table"]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
        return {
            "rows": {name: sorted(map(repr, found)) for name, found in rows.items()},
            "schema": sorted(map(repr, schema)),
            **{name: connection.pragma(name) for name in PRAGMAS},
        }
    finally:
        connection.close()


def names(place: SqlitePlace) -> set[str]:
    return {each.name for each in place.path.parent.iterdir()}


def test_the_copy_is_smaller_and_has_everything(place: SqlitePlace) -> None:
    place.run_sql("PRAGMA application_id = 77")
    before, size = content(place), place.path.stat().st_size
    reports: list[tuple[int, str]] = []
    space, after = compact(place, reports)
    assert place.path.stat().st_size == after <= space.used_bytes < space.size_bytes == size
    assert size - after >= space.given_back_bytes > 150 * 2000
    assert content(place) == before
    assert before["journal_mode"] == "wal"
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600
    assert names(place) == {"headrace.db", "headrace.db.lock", "headrace.db.reserve"}
    assert {words for _, words in reports} == {"checking", "copying", "checking the copy"}
    assert max(done for done, _ in reports) == space.used_bytes
    session = StoreSession(place)
    assert len(session.stored_ids()) == EVENTS - 150
    session.close()


@pytest.mark.parametrize("vacuum", [0, 1, 2])
def test_an_unusual_layout_is_kept(place: SqlitePlace, vacuum: int) -> None:
    connection = apsw.Connection(str(place.path))
    connection.pragma("journal_mode", "delete")
    connection.pragma("page_size", 8192)
    connection.pragma("auto_vacuum", vacuum)
    connection.execute("VACUUM")
    connection.pragma("journal_mode", "wal")
    connection.close()
    before = content(place)
    assert before["auto_vacuum"] == vacuum
    compact(place)
    assert content(place) == before


def test_the_log_of_a_killed_server_is_kept(place: SqlitePlace, tmp_path: Path) -> None:
    session = StoreSession(place)
    session.accept(new_event(key="in the log"))
    killed = SqlitePlace(tmp_path / "killed")
    killed.path.parent.mkdir(parents=True)
    for suffix in ("", "-wal", ".lock"):
        shutil.copy(f"{place.path}{suffix}", f"{killed.path}{suffix}")
    lost = SqlitePlace(tmp_path / "lost")
    shutil.copytree(killed.path.parent, lost.path.parent)
    session.close()

    compact(killed)
    assert killed.run_sql("SELECT count(*) FROM events") == [(EVENTS - 150 + 1,)]

    log = lost.path.with_name("headrace.db-wal")
    kept, database = log.read_bytes(), lost.path.read_bytes()
    log.unlink()
    for _ in range(2):
        with pytest.raises(StoreSetupError, match="would be lost"):
            compact(lost)
    assert lost.path.read_bytes() == database
    log.write_bytes(kept)
    compact(lost)
    assert lost.run_sql("SELECT count(*) FROM events") == [(EVENTS - 150 + 1,)]


def test_a_store_that_a_server_has_open_is_refused(place: SqlitePlace) -> None:
    session = StoreSession(place)
    with pytest.raises(StoreSetupError, match=f"pid {os.getpid()}.*Stop it first"):
        compact(place)
    session.close()


@pytest.mark.usefixtures("no_waiting")
def test_a_store_that_another_program_has_open_is_refused(place: SqlitePlace) -> None:
    reader = apsw.Connection(str(place.path))
    reader.execute("SELECT 1 FROM events LIMIT 1").fetchall()
    with pytest.raises(StoreSetupError, match="in use by a worker, a command"):
        compact(place)
    reader.close()
    compact(place)


@pytest.mark.usefixtures("no_waiting")
def test_nobody_opens_the_store_meanwhile(place: SqlitePlace) -> None:
    before = place.run_sql("SELECT count(*) FROM events")
    with compact_store(settings_of(place)) as (_, run):
        with pytest.raises(StoreSetupError, match="in use"):
            open_store(place.path, serve=True)
        with pytest.raises(StoreSetupError, match="holds the store"):
            open_store(place.path, serve=False)
        run(lambda _done, _words: None)
    assert place.run_sql("SELECT count(*) FROM events") == before


def test_the_file_that_was_replaced_takes_no_writes(place: SqlitePlace) -> None:
    """A process may have opened it just before, and have waited for the lock since."""
    early = apsw.Connection(str(place.path))
    compact(place)
    with pytest.raises(StoreBusyError, match="replaced"):
        check_not_replaced(early)
    early.close()
    assert place.run_sql("PRAGMA quick_check") == [("ok",)]


@pytest.mark.parametrize("point", POINTS)
def test_after_an_error_the_store_is_the_old_one(
    place: SqlitePlace, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, inode = content(place), place.path.stat().st_ino
    for name, value in (("_armed", point), ("_action", "error"), ("_left", 1)):
        monkeypatch.setattr(faults, name, value)
    with pytest.raises(StoreError, match=f"fail point {point}"):
        compact(place)
    assert place.path.stat().st_ino == inode
    assert content(place) == before
    assert names(place) == {"headrace.db", "headrace.db.lock", "headrace.db.reserve"}
    monkeypatch.setattr(faults, "_armed", "")
    compact(place)
    assert content(place) == before


def test_a_damaged_store_is_not_replaced(place: SqlitePlace) -> None:
    whole = place.path.read_bytes()
    root = place.run_sql("SELECT rootpage FROM sqlite_schema WHERE name = 'events'")[0][0]
    page = 4096 * (root - 1)
    damaged = whole[: page + 3] + b"\xff\xff" + whole[page + 5 :]
    place.path.write_bytes(damaged)
    with pytest.raises(StoreSetupError, match="damaged"):
        compact(place)
    assert place.path.read_bytes() == damaged


def test_a_store_of_an_older_release_is_migrated_first(place: SqlitePlace) -> None:
    place.run_sql("PRAGMA user_version = 12")
    with pytest.raises(StoreSetupError, match="headrace migrate"):
        compact(place)


def test_a_server_removes_the_copy_of_a_killed_compaction(place: SqlitePlace) -> None:
    left = [place.path.with_name(f"headrace.db.compacting{each}") for each in ("", "-wal", "-shm")]
    for each in left:
        each.write_bytes(b"personal data")
    StoreSession(place).close()
    assert not any(each.exists() for each in left)
    for each in left:
        each.write_bytes(b"personal data")
    compact(place)
    assert not any(each.exists() for each in left)


# --- erasure in a file that is too large to be rewritten ---


@pytest.fixture
def erased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SqlitePlace, str]:
    """A store from which a person was erased without rewriting it, and the erasure's id."""
    monkeypatch.setattr(file_wiping, "REWRITTEN_BYTES_MAX", 0)
    place = SqlitePlace(tmp_path)
    session = StoreSession(place)
    people = People(session)
    contact = people.create(external_id=X, email=EMAIL, properties={"name": CANARY})
    for number in range(20):
        # Long rows among others move between pages as these fill.
        people.accept(external_id=X, payload=json.dumps({"secret": CANARY * (number * 18)}))
        people.accept(external_id=f"other-{number}", payload=json.dumps({"kept": "x" * 900}))
        people.process()
    receipt = people.erase(contact.id)
    shown = erasure_response(receipt)
    assert shown.copies_may_remain
    assert shown.hint is not None
    assert "headrace compact" in shown.hint
    session.close()
    return place, receipt.id


def test_a_compaction_finishes_an_erasure(erased: tuple[SqlitePlace, str]) -> None:
    place, erasure_id = erased
    compact(place)
    assert files_with(place.path.parent, CANARY) == []
    session = StoreSession(place)
    found = session.run(session.store.erasures.get(1, erasure_id))
    assert found is not None
    assert found.finished_us is not None
    shown = erasure_response(found)
    assert (shown.copies_may_remain, shown.hint) == (False, None)
    session.close()


def test_an_erasure_in_a_rewritten_file_has_no_hint(tmp_path: Path) -> None:
    session = StoreSession(SqlitePlace(tmp_path))
    people = People(session)
    contact = people.create(external_id=X)
    shown = erasure_response(people.erase(contact.id))
    assert (shown.copies_may_remain, shown.hint) == (False, None)
    session.close()
