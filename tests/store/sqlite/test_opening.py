"""States in which an embedded store is opened, or rejected with advice."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

from headrace.store.contract.errors import StoreError, StoreSetupError
from headrace.store.engine.sqlite.migrate import migrate, newest_version, schema_version
from headrace.store.migrations import FIRST, Migration, migrations
from headrace.store.sqlite import open_store
from tests.support.events import as_stored, new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

PAGE_BYTES = 4096


@pytest.fixture
def sqlite_place(tmp_path: Path) -> SqlitePlace:
    return SqlitePlace(tmp_path)


def fill(place: SqlitePlace, count: int = 300) -> None:
    session = StoreSession(place)
    session.accept(
        *(new_event(key=f"k{n}", payload=f'{{"text":"{"x" * 500}"}}') for n in range(count))
    )
    session.close()


def killed_copy(session: StoreSession, to: Path) -> SqlitePlace:
    """Copy the files as a SIGKILL at this moment would leave them, log included."""
    assert isinstance(session.place, SqlitePlace)
    place = SqlitePlace(to)
    place.path.parent.mkdir(parents=True)
    for suffix in ("", "-wal"):
        shutil.copy(f"{session.place.path}{suffix}", f"{place.path}{suffix}")
    return place


# --- schema ---


def test_steps_are_numbered_without_gaps_and_applied_one_by_one() -> None:
    steps = migrations("sqlite")
    assert [step.number for step in steps] == list(range(FIRST, FIRST + len(steps)))
    connection = apsw.Connection(":memory:")
    assert schema_version(connection) == 0
    assert migrate(connection) == [f"{step.number:04d}_{step.name}" for step in steps]
    assert schema_version(connection) == newest_version() == steps[-1].number
    assert migrate(connection) == []
    connection.close()


LATER = Migration(99, "later", "CREATE TABLE later (x); CREATE INDEX later_x ON later (x);")


@pytest.mark.parametrize("done", range(len(migrations("sqlite")) + 1))
def test_store_of_any_earlier_release_is_migrated(
    done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [*migrations("sqlite"), LATER]
    monkeypatch.setattr("headrace.store.engine.sqlite.migrate.migrations", lambda _: steps)

    def schema(connection: apsw.Connection) -> Sequence[object]:
        return connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 2").fetchall()

    fresh, older = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    migrate(fresh)
    for step in steps[:done]:
        older.execute(step.sql)
        older.pragma("user_version", step.number)
    migrate(older)
    assert schema(older) == schema(fresh)
    fresh.close()
    older.close()


def test_a_failing_step_leaves_no_changes() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE rejections (x)")
    with pytest.raises(apsw.SQLError):
        migrate(connection)
    assert schema_version(connection) == 0
    tables = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    assert tables == [("rejections",)]
    connection.close()


def test_store_of_a_development_version_is_rejected() -> None:
    connection = apsw.Connection(":memory:")
    connection.pragma("user_version", FIRST - 1)
    with pytest.raises(StoreSetupError, match=r"development version.*import them into a new store"):
        migrate(connection)
    connection.close()


def test_newer_schema_is_rejected_and_the_file_unchanged(sqlite_place: SqlitePlace) -> None:
    fill(sqlite_place)
    newer = newest_version() + 1
    sqlite_place.run_sql(f"PRAGMA user_version = {newer}")
    before = sqlite_place.path.read_bytes()
    with pytest.raises(StoreSetupError, match=f"schema {newer}.*newer release"):
        asyncio.run(sqlite_place.open())
    assert sqlite_place.path.read_bytes() == before
    sqlite_place.run_sql(f"PRAGMA user_version = {newest_version()}")
    StoreSession(sqlite_place).close()


# --- who may open it ---


def test_second_server_is_rejected_with_the_holder_of_the_store(
    session: StoreSession, sqlite_place: SqlitePlace
) -> None:
    with pytest.raises(StoreSetupError, match=rf"in use .*pid {os.getpid()}\b.*Stop it first"):
        asyncio.run(sqlite_place.open())
    session.accept(new_event())
    session.close()
    StoreSession(sqlite_place).close()


def test_the_lock_of_a_killed_process_is_free(sqlite_place: SqlitePlace) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path;"
        "from headrace.store.sqlite import open_store;"
        "open_store(Path(sys.argv[1]), serve=True); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(sqlite_place.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(StoreSetupError, match=f"pid {process.pid}"):
            asyncio.run(sqlite_place.open())
        process.kill()
    StoreSession(sqlite_place).close()


def test_command_opens_the_store_of_a_running_server(
    session: StoreSession, sqlite_place: SqlitePlace
) -> None:
    second = open_store(sqlite_place.path, serve=False)
    session.run(second.projects.create("shop", 1, actor="cli"))
    assert [p.name for p in session.run(session.store.projects.list())] == ["shop"]
    event = new_event(key="k")
    session.accept(event)
    assert session.run(second.events.get(1, event.id)) == as_stored(event)
    session.run(second.close())
    session.accept(new_event())
    assert len(session.stored_ids()) == 2


def test_no_store_is_created_unless_requested(sqlite_place: SqlitePlace) -> None:
    with pytest.raises(StoreSetupError, match="headrace serve"):
        open_store(sqlite_place.path, serve=False, create=False)
    assert not sqlite_place.path.exists()


def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreSetupError, match="cannot be opened"):
        open_store(tmp_path / "file" / "headrace.db", serve=True)


@pytest.mark.parametrize("version", ["3.51.2", "3.40.1", "3.9.10"])
def test_library_that_can_lose_rows_is_rejected(
    sqlite_place: SqlitePlace, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    with pytest.raises(StoreSetupError, match=f"{version} can lose committed rows.*pip install"):
        asyncio.run(sqlite_place.open())
    assert not sqlite_place.path.exists()


# --- after an unclean stop ---


def test_a_leftover_log_is_checkpointed_before_serving(
    session: StoreSession, tmp_path: Path
) -> None:
    events = [new_event(key=f"k{n}") for n in range(100)]
    session.accept(*events)
    place = killed_copy(session, tmp_path / "copy")
    log = place.path.with_name("headrace.db-wal")
    assert log.stat().st_size > 0
    store = open_store(place.path, serve=True)
    # Before any read, everything that is visible is in the database itself.
    assert log.stat().st_size == 0
    alone = apsw.Connection(
        f"file:{place.path}?immutable=1", apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY
    )
    ids = [row[0] for row in alone.execute("SELECT id FROM events ORDER BY sequence")]
    alone.close()
    assert ids == [event.id for event in events]
    session.run(store.close())


def _log_frames(path: Path) -> int:
    return (path.stat().st_size - 32) // (PAGE_BYTES + 24)


@pytest.mark.parametrize("missing", [1, 23, 24, 25, 2048, PAGE_BYTES, PAGE_BYTES + 23])
def test_torn_end_of_the_log_loses_only_that_commit(
    session: StoreSession, tmp_path: Path, missing: int
) -> None:
    whole, torn = new_event(key="whole"), new_event(key="torn")
    session.accept(whole)
    session.accept(torn)
    place = killed_copy(session, tmp_path / "copy")
    log = place.path.with_name("headrace.db-wal")
    os.truncate(log, log.stat().st_size - missing)
    again = StoreSession(place)
    try:
        assert again.stored_ids() == [whole.id]
        assert again.accept(new_event(key="torn")) == [None]
        assert again.place.run_sql("PRAGMA integrity_check") == [("ok",)]
    finally:
        again.close()


def test_garbage_after_the_log_is_ignored(session: StoreSession, tmp_path: Path) -> None:
    event = new_event()
    session.accept(event)
    place = killed_copy(session, tmp_path / "copy")
    with place.path.with_name("headrace.db-wal").open("ab") as log:
        log.write(os.urandom(3 * (PAGE_BYTES + 24) + 17))
    again = StoreSession(place)
    try:
        assert again.stored_ids() == [event.id]
    finally:
        again.close()


def test_log_is_ignored_from_a_flipped_bit_on(session: StoreSession, tmp_path: Path) -> None:
    whole, flipped = new_event(), new_event()
    session.accept(whole)
    length = Path(f"{session.place.path}-wal").stat().st_size  # type: ignore[attr-defined]
    session.accept(flipped)
    place = killed_copy(session, tmp_path / "copy")
    with place.path.with_name("headrace.db-wal").open("r+b") as log:
        log.seek(length + 24 + 100)
        byte = log.read(1)[0]
        log.seek(length + 24 + 100)
        log.write(bytes([byte ^ 0x10]))
    again = StoreSession(place)
    try:
        assert again.stored_ids() == [whole.id]
    finally:
        again.close()


@pytest.mark.parametrize("content", [b"", b"\x00" * 32768, b"garbage" * 5000])
def test_a_garbled_shared_memory_file_is_rebuilt(
    session: StoreSession, tmp_path: Path, content: bytes
) -> None:
    event = new_event()
    session.accept(event)
    place = killed_copy(session, tmp_path / "copy")
    place.path.with_name("headrace.db-shm").write_bytes(content)
    again = StoreSession(place)
    try:
        assert again.stored_ids() == [event.id]
    finally:
        again.close()


# --- damage ---


def test_file_that_is_not_a_database_is_rejected(sqlite_place: SqlitePlace) -> None:
    sqlite_place.path.parent.mkdir()
    sqlite_place.path.write_bytes(b"these are somebody's notes\n" * 1000)
    before = sqlite_place.path.read_bytes()
    with pytest.raises(StoreSetupError, match=r"damaged .*backup"):
        asyncio.run(sqlite_place.open())
    assert sqlite_place.path.read_bytes() == before


@pytest.mark.parametrize("offset", [0, 16, 18])
def test_damaged_header_is_rejected(sqlite_place: SqlitePlace, offset: int) -> None:
    fill(sqlite_place)
    _overwrite(sqlite_place.path, offset, b"\xff\xff")
    with pytest.raises(StoreSetupError, match=r"damaged .*backup"):
        asyncio.run(sqlite_place.open())


def test_damage_is_found_before_serving_with_advice(
    sqlite_place: SqlitePlace,
) -> None:
    fill(sqlite_place)
    pages = sqlite_place.path.stat().st_size // PAGE_BYTES
    _overwrite(sqlite_place.path, pages // 2 * PAGE_BYTES, b"\xaa" * 64)
    with pytest.raises(StoreSetupError, match=r"^The store .* damaged .*backup.*\.recover$"):
        asyncio.run(sqlite_place.open())


def test_damage_while_serving_never_returns_wrong_data(
    sqlite_place: SqlitePlace,
) -> None:
    fill(sqlite_place)
    session = StoreSession(sqlite_place)
    for page in range(3, sqlite_place.path.stat().st_size // PAGE_BYTES):
        _overwrite(sqlite_place.path, page * PAGE_BYTES, b"\xaa" * 64)
    try:
        with pytest.raises(StoreError):
            session.run(session.store.events.get_by_key(1, "k150"))
    finally:
        session.close()
    # At the next start it is found.
    with pytest.raises(StoreSetupError, match="damaged"):
        asyncio.run(sqlite_place.open())


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


# --- settings ---


def test_served_store_has_durable_settings(sqlite_place: SqlitePlace) -> None:
    session = StoreSession(sqlite_place)
    health = session.run(session.store.health())
    session.close()
    assert health.durability == {"journal_mode": "wal", "synchronous": "full"}
    assert health.kind == "sqlite"
    assert health.location == str(sqlite_place.path)


def test_closing_closes_the_files_and_removes_the_log(sqlite_place: SqlitePlace) -> None:
    fill(sqlite_place)
    names = {path.name for path in sqlite_place.path.parent.iterdir()}
    assert not names & {"headrace.db-wal", "headrace.db-shm"}
    opened = {path.resolve() for path in Path("/proc/self/fd").iterdir()}
    assert not [path for path in opened if path.is_relative_to(sqlite_place.path.parent)]
