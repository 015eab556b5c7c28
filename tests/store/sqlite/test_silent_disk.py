"""A disk that does not respond: callers get an error in time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from headrace.store.contract.errors import StoreBusyError
from headrace.store.engine.sqlite import readers, writer
from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.engine.sqlite.readers import Readers
from headrace.store.engine.sqlite.writer import Writer

WAITING_MAX = 5
ANSWERS = "CREATE TABLE answers (number INTEGER)"


class Stuck:
    """Work that the test unblocks."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, connection: apsw.Connection) -> None:
        self.begun.set()
        self.go_on.wait()
        connection.execute("SELECT 1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "store.db"
    connection = open_writer(str(made))
    connection.execute(ANSWERS)
    connection.close()
    return made


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    made = Stuck()
    yield made
    made.go_on.set()


def test_read_without_a_response_times_out(
    path: Path, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its thread stays busy, and counts, until the disk responds."""
    monkeypatch.setattr(readers, "RESPONSE_SECONDS_MAX", 0.01)
    monkeypatch.setattr(readers, "WAITING_MAX", WAITING_MAX)

    async def run() -> None:
        opened = Readers(str(path))
        for _ in range(WAITING_MAX):
            with pytest.raises(StoreBusyError, match="does not respond"):
                await opened.run(stuck, 0.0)
        with pytest.raises(StoreBusyError, match="Too many reads"):
            await opened.run(stuck, 0.0)
        stuck.go_on.set()
        monkeypatch.setattr(readers, "RESPONSE_SECONDS_MAX", 10.0)
        monkeypatch.setattr(readers, "WAITING_MAX", 2 * WAITING_MAX)
        assert await opened.run(lambda _: "answer") == "answer"
        opened.close()

    asyncio.run(run())


def test_job_that_is_not_done_in_time_times_out(
    path: Path, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that had not started are never done."""
    monkeypatch.setattr(writer, "JOB_SECONDS_MAX", 0.01)

    async def run() -> None:
        opened = Writer(open_writer(str(path)), lambda: None)
        for work in (
            stuck,
            lambda connection: connection.execute("INSERT INTO answers VALUES (1)"),
        ):
            with pytest.raises(StoreBusyError, match="not done within"):
                await opened.run(work)
        stuck.go_on.set()
        monkeypatch.setattr(writer, "JOB_SECONDS_MAX", 10.0)
        rows = await opened.run(
            lambda connection: connection.execute("SELECT * FROM answers").fetchall()
        )
        assert rows == []
        opened.stop()
        opened._connection.close()

    asyncio.run(run())
