"""After a kill, a log that lost acknowledged events is noticed; nothing else is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from headrace.store.contract.errors import StoreSetupError
from headrace.store.sqlite import open_store
from tests.support.events import new_event
from tests.support.places import SqlitePlace
from tests.support.session import StoreSession

Damage = Callable[[Path], None]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    opened = StoreSession(SqlitePlace(tmp_path / "first"))
    yield opened
    opened.close()


def killed(session: StoreSession, to: Path) -> SqlitePlace:
    """The files as a SIGKILL at this moment would leave them."""
    assert isinstance(session.place, SqlitePlace)
    place = SqlitePlace(to)
    place.path.parent.mkdir(parents=True)
    for suffix in ("", "-wal", ".lock"):
        shutil.copy(f"{session.place.path}{suffix}", f"{place.path}{suffix}")
    return place


def log_of(place: SqlitePlace) -> Path:
    return place.path.with_name(f"{place.path.name}-wal")


def empty(log: Path) -> None:
    os.truncate(log, 0)


def cut(log: Path) -> None:
    os.truncate(log, log.stat().st_size - 1)


def cut_to_its_header(log: Path) -> None:
    os.truncate(log, 32)


def flip(log: Path) -> None:
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 0x10
    log.write_bytes(content)


def replace(log: Path) -> None:
    """A log of the same database from before."""
    content = bytearray(log.read_bytes())
    first = int.from_bytes(content[16:20])
    content[16:20] = ((first - 1) % 2**32).to_bytes(4)
    log.write_bytes(content)


@pytest.mark.parametrize("damage", [Path.unlink, empty, cut, cut_to_its_header, flip, replace])
def test_a_damaged_log_is_rejected_until_the_loss_is_accepted(
    session: StoreSession, tmp_path: Path, damage: Damage
) -> None:
    session.accept(new_event(key="one"))
    session.accept(new_event(key="two"))
    place = killed(session, tmp_path / "copy")
    whole = log_of(place).read_bytes()
    damage(log_of(place))
    for _ in range(2):
        with pytest.raises(StoreSetupError, match="--accept-data-loss"):
            open_store(place.path, serve=True)
    # Nothing was changed, so putting the log back helps.
    kept = place.path.read_bytes()
    log_of(place).write_bytes(whole)
    restored = StoreSession(place)
    assert len(restored.stored_ids()) == 2
    restored.close()

    place.path.write_bytes(kept)
    lost = killed(session, tmp_path / "lost")
    damage(log_of(lost))
    opened = open_store(lost.path, serve=True, accept_data_loss=True)
    session.run(opened.close())
    again = StoreSession(lost)
    assert len(again.stored_ids()) < 2
    assert again.accept(new_event(key="two")) == [None]
    again.close()


def test_a_killed_server_with_a_whole_log_starts(session: StoreSession, tmp_path: Path) -> None:
    session.accept(new_event(key="one"))
    again = StoreSession(killed(session, tmp_path / "copy"))
    assert len(again.stored_ids()) == 1
    again.close()


def test_a_server_killed_before_its_first_commit_starts(
    session: StoreSession, tmp_path: Path
) -> None:
    StoreSession(killed(session, tmp_path / "copy")).close()


def test_a_log_that_began_again_after_the_note_is_accepted(
    session: StoreSession, tmp_path: Path
) -> None:
    """A worker of another process can commit first after the log has been moved."""
    session.accept(new_event(key="one"))
    place = session.place
    assert isinstance(place, SqlitePlace)
    worker = apsw.Connection(str(place.path))
    worker.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
    worker.execute("INSERT INTO meta (name, value) VALUES ('x', 'y')")
    again = StoreSession(killed(session, tmp_path / "copy"))
    worker.close()
    assert len(again.stored_ids()) == 1
    again.close()


def test_a_log_that_another_program_emptied_into_the_database_is_no_loss(
    session: StoreSession, tmp_path: Path
) -> None:
    session.accept(new_event(key="one"))
    place = killed(session, tmp_path / "copy")
    # The last connection that closes moves the log and removes it.
    other = apsw.Connection(str(place.path))
    assert other.execute("SELECT count(*) FROM events").get == 1
    other.close()
    assert not log_of(place).exists()
    again = StoreSession(place)
    assert len(again.stored_ids()) == 1
    again.close()


def test_a_whole_log_is_accepted_although_its_newest_event_was_erased(
    session: StoreSession, tmp_path: Path
) -> None:
    session.accept(new_event(key="one"))
    session.place.run_sql("DELETE FROM events")
    StoreSession(killed(session, tmp_path / "copy")).close()


def test_after_a_restart_of_the_machine_the_note_is_not_compared(
    session: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may not have written it; what was synced counts."""
    session.accept(new_event(key="one"))
    place = killed(session, tmp_path / "copy")
    log_of(place).unlink()
    other = tmp_path / "boot_id"
    other.write_text("another boot")
    monkeypatch.setattr("headrace.store.engine.sqlite.log_end._BOOT_ID", other)
    StoreSession(place).close()
