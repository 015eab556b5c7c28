"""`headrace compact` as its own process: killed, without room, and beside others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace.config import load_settings
from headrace.stores import compact_store
from tests.faults.server import Faulty
from tests.support.server import HEADRACE, clean_environment, headrace

ROWS = 3000
FILLER_BYTES = 28 * 1024 * 1024
#: Points after which the store is the new one.
REPLACED = {"compact_replaced"}
POINTS = (
    "compact_checking",
    "compact_copying",
    "compact_copied",
    "compact_synced",
    "compact_log_removed",
    "compact_replaced",
)


def fill(database: Path, row_bytes: int, *, kept: int) -> None:
    """Rows of which the first ones are kept; the pages of the others are free."""
    connection = apsw.Connection(str(database))
    connection.execute("CREATE TABLE filling (id INTEGER PRIMARY KEY, text TEXT)")
    connection.execute(
        "INSERT INTO filling WITH RECURSIVE n (i) AS "
        "(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i, hex(randomblob(?)) FROM n",
        (ROWS, row_bytes // 2),
    )
    connection.execute("DELETE FROM filling WHERE id > ?", (kept,))
    connection.close()


def rows(database: Path) -> list[tuple[Any, ...]]:
    connection = apsw.Connection(str(database))
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.pragma("journal_mode") == "wal"
        return connection.execute("SELECT id, text FROM filling ORDER BY id").fetchall()
    finally:
        connection.close()


def compact(database: Path, *flags: str, point: str = "") -> subprocess.CompletedProcess[str]:
    env = {"HEADRACE_FAIL_POINT": point} if point else {}
    return headrace("compact", *flags, "--store", f"sqlite:///{database}", env=env)


@pytest.mark.parametrize("point", POINTS)
def test_after_a_kill_the_store_is_whole(faulty: Faulty, point: str) -> None:
    database = faulty.database
    fill(database, 1000, kept=ROWS // 2)
    before, size, inode = rows(database), database.stat().st_size, database.stat().st_ino

    assert compact(database, point=f"{point}:kill").returncode == -signal.SIGKILL

    is_new = database.stat().st_ino != inode
    assert is_new == (point in REPLACED)
    assert (database.stat().st_size < size) == is_new
    assert rows(database) == before
    with compact_store(load_settings({"store": f"sqlite:///{database}"}, {})) as (_, run):
        assert run(lambda _done, _words: None) == database.stat().st_size < size
    assert rows(database) == before
    assert not list(database.parent.glob("*.compacting*"))


def test_it_says_what_it_needs_and_gives_back(faulty: Faulty) -> None:
    database = faulty.database
    fill(database, 1000, kept=10)
    size = database.stat().st_size
    done = compact(database, "--json")
    assert done.returncode == 0, done.stderr
    assert "Needs up to" in done.stderr
    assert "gives back at least" in done.stderr
    after = database.stat().st_size
    assert json.loads(done.stdout) == {
        "store": f"sqlite:///{database}",
        "before_bytes": size,
        "after_bytes": after,
        "given_back_bytes": size - after,
    }
    faulty.start()
    assert faulty.stop() == 0


def test_beside_a_running_server_it_does_nothing(faulty: Faulty) -> None:
    faulty.start()
    inode = faulty.database.stat().st_ino
    done = compact(faulty.database)
    assert done.returncode == 2
    assert "in use by another headrace process" in done.stderr
    assert "Stop it first" in done.stderr
    assert faulty.database.stat().st_ino == inode
    assert faulty.stop() == 0


def test_without_room_nothing_is_written(small_disk: Path) -> None:
    made = Faulty(small_disk / "headrace.db")
    fill(made.database, 2000, kept=ROWS)
    with (small_disk / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, FILLER_BYTES)
    before, names = rows(made.database), sorted(small_disk.iterdir())
    done = compact(made.database)
    assert done.returncode == 1
    assert "Needs up to" in done.stderr
    assert "Nothing was changed" in done.stderr
    assert sorted(small_disk.iterdir()) == names
    assert rows(made.database) == before
    made.close()


def test_a_disk_that_fills_meanwhile_leaves_the_store(faulty: Faulty) -> None:
    database = faulty.database
    fill(database, 1000, kept=ROWS)
    before, names = rows(database), sorted(database.parent.iterdir())
    # There is room at the start; a limit on the size of a file then stands for the end of the disk.
    limit = f"--fsize={database.stat().st_size // 2}"
    done = subprocess.run(
        ["prlimit", limit, *HEADRACE, "compact", "--store", f"sqlite:///{database}"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "headrace: " in done.stderr
    assert sorted(database.parent.iterdir()) == names
    assert rows(database) == before


def test_the_new_file_belongs_to_the_owner_of_the_store(faulty: Faulty) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can run it for another owner")
    os.chown(faulty.database, 12345, 12346)
    assert compact(faulty.database).returncode == 0
    found = faulty.database.stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)


def test_a_postgresql_store_has_its_own_means() -> None:
    done = headrace("compact", "--store", "postgresql://a:secret@127.0.0.1:9/b")
    assert done.returncode == 2
    assert "VACUUM (FULL)" in done.stderr
    assert "secret" not in done.stderr
