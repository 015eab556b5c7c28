"""Jobs of the writing thread that share a transaction."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from headrace.store.contract.errors import StoreError, StoreFullError, StoreRowError
from headrace.store.engine.sqlite import writer
from headrace.store.engine.sqlite.connection import open_writer
from headrace.store.engine.sqlite.writer import Writer

SCHEMA = "CREATE TABLE notes (place INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL UNIQUE)"
#: So that the time of a job does not decide which share a transaction.
SLOW_SECONDS = 60.0
Work = Callable[[apsw.Connection], Any]


@pytest.fixture(autouse=True)
def _on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SHARED_SECONDS_MAX", SLOW_SECONDS)


@pytest.fixture
def path(tmp_path: Path) -> str:
    made = str(tmp_path / "store.db")
    connection = open_writer(made)
    connection.execute(SCHEMA)
    connection.close()
    return made


def note(text: str | None) -> Work:
    def work(connection: apsw.Connection) -> str | None:
        connection.execute("INSERT INTO notes (text) VALUES (?)", (text,))
        return text

    return work


def refused(text: str) -> Work:
    """Writes, then finds that it must not."""

    def work(connection: apsw.Connection) -> None:
        note(text)(connection)
        raise LookupError(text)

    return work


def full(connection: apsw.Connection) -> None:
    note("full")(connection)
    raise apsw.FullError("the disk is full")


def stored(path: str) -> list[str]:
    with closing(apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE)) as reader:
        return [row[0] for row in reader.execute("SELECT text FROM notes ORDER BY place")]


class Opened:
    """A writer whose jobs of one call wait together, and its commits."""

    def __init__(self, path: str) -> None:
        self._connection = open_writer(path)
        self.commits = 0
        self.fails = False
        self.full: list[None] = []
        self.writer = Writer(self._connection, lambda: self.full.append(None))
        self._connection.set_commit_hook(self._count)

    def _count(self) -> bool:
        self.commits += 1
        return self.fails

    async def run(self, *works: Work, alone: Work | None = None) -> list[Any]:
        """Results or errors of jobs that share; `alone` is queued as the second."""
        async with self.held():
            waiting: list[Coroutine[Any, Any, Any]] = [
                self.writer.run_shared(each) for each in works
            ]
            if alone is not None:
                waiting.insert(1, self.writer.run(alone))
            # The loop begins tasks in the order in which they were made.
            jobs = [asyncio.create_task(each) for each in waiting]
            self.commits = 0
        return await asyncio.gather(*jobs, return_exceptions=True)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Keep the thread busy until the block ends and what it made is queued."""
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_: apsw.Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(10)

        holding = asyncio.create_task(self.writer.look(hold))
        await begun.wait()
        try:
            yield
            # The loop begins each task.
            await asyncio.sleep(0)
        finally:
            go_on.set()
            await holding

    def close(self) -> None:
        self.writer.stop()
        self._connection.close()


def run(path: str, test: Callable[[Opened], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        with closing(Opened(path)) as opened:
            return await test(opened)

    return asyncio.run(main())


def test_jobs_that_wait_are_committed_together_in_their_order(path: str) -> None:
    async def test(opened: Opened) -> None:
        texts = [f"n{number}" for number in range(10)]
        assert await opened.run(*map(note, texts)) == texts
        assert (opened.commits, stored(path)) == (1, texts)

    run(path, test)


def test_a_job_that_fails_is_rolled_back_alone(path: str) -> None:
    async def test(opened: Opened) -> None:
        ends = await opened.run(
            note("a"), refused("b"), note(None), note("c"), note("a"), note("b"), full_statement
        )
        kinds = [each if isinstance(each, str) else type(each) for each in ends]
        assert kinds == ["a", LookupError, StoreRowError, "c", StoreRowError, "b", StoreError]
        assert (opened.commits, stored(path)) == (1, ["a", "c", "b"])

    def full_statement(connection: apsw.Connection) -> None:
        note("d")(connection)
        connection.execute("SELECT * FROM nothing")

    run(path, test)


def test_no_one_is_answered_before_the_commit(path: str) -> None:
    seen: list[list[str]] = []

    async def test(opened: Opened) -> None:
        async def answered(work: Work) -> None:
            await opened.writer.run_shared(work)
            seen.append(stored(path))

        await asyncio.gather(*(answered(note(f"n{number}")) for number in range(5)))

    run(path, test)
    assert [len(each) for each in seen[1:]] == [5, 5, 5, 5]


@pytest.mark.parametrize("count", [1, 3])
def test_a_commit_that_fails_fails_every_job(path: str, count: int) -> None:
    async def test(opened: Opened) -> None:
        opened.fails = True
        ends = await opened.run(*(note(f"n{number}") for number in range(count)), refused("x"))
        assert all(isinstance(each, StoreError) for each in ends)
        assert stored(path) == []
        opened.fails = False
        assert await opened.run(note("n0"), note("n1")) == ["n0", "n1"]

    run(path, test)


def test_a_full_disk_fails_every_job(path: str) -> None:
    async def test(opened: Opened) -> None:
        ends = await opened.run(note("a"), full, note("b"))
        assert [type(each) for each in ends[:2]] == [StoreFullError, StoreFullError]
        # It had not begun.
        assert ends[2] == "b"
        assert (stored(path), len(opened.full)) == (["b"], 1)

    run(path, test)


def test_a_transaction_that_the_database_ended_fails_every_job(path: str) -> None:
    def ends_it(connection: apsw.Connection) -> None:
        connection.execute("ROLLBACK")
        raise LookupError

    async def test(opened: Opened) -> None:
        ends = await opened.run(note("a"), ends_it, note("b"))
        assert [isinstance(each, StoreError) for each in ends] == [True, True, False]
        assert stored(path) == ["b"]

    run(path, test)


def test_a_job_that_must_be_alone_is(path: str) -> None:
    async def test(opened: Opened) -> None:
        names = ("a", "b", "c")
        ends = await opened.run(*map(note, names), alone=refused("alone"))
        assert [str(each) for each in ends] == ["a", "alone", "b", "c"]
        assert (opened.commits, stored(path)) == (2, ["a", "b", "c"])

    run(path, test)


@pytest.mark.parametrize(("limit", "value"), [("SHARED_MAX", 2), ("SHARED_SECONDS_MAX", 0.0)])
def test_a_transaction_takes_no_more_than_it_may(
    path: str, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(writer, limit, value)

    async def test(opened: Opened) -> None:
        texts = [f"n{number}" for number in range(6)]
        assert await opened.run(*map(note, texts)) == texts
        assert opened.commits == (3 if limit == "SHARED_MAX" else 6)

    run(path, test)


def test_a_caller_that_no_longer_waits_gets_nothing_done(path: str) -> None:
    async def test(opened: Opened) -> None:
        async with opened.held():
            tasks = [
                asyncio.create_task(opened.writer.run_shared(note(f"n{number}")))
                for number in range(3)
            ]
            await asyncio.sleep(0)
            tasks[1].cancel()
        assert [await tasks[0], await tasks[2]] == ["n0", "n2"]
        assert stored(path) == ["n0", "n2"]

    run(path, test)


def test_a_kill_between_two_jobs_loses_only_what_was_not_answered(path: str) -> None:
    command = [sys.executable, "-m", "tests.store.sqlite.test_shared_commits", path]
    environ = os.environ | {"HEADRACE_FAIL_POINT": "between_jobs:kill:6"}
    died = subprocess.run(command, env=environ, stdout=subprocess.PIPE, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    # The first four were answered; of the others none is half done.
    assert died.stdout.decode().split() == ["n0", "n1", "n2", "n3"]
    assert stored(path) == ["n0", "n1", "n2", "n3"]


def two_rounds(path: str) -> None:
    """Four jobs, whose results are printed, then four more."""

    async def test(opened: Opened) -> None:
        for first in (0, 4):
            texts = await opened.run(*(note(f"n{number}") for number in range(first, first + 4)))
            sys.stdout.write(f"{' '.join(texts)}\n")
            sys.stdout.flush()

    run(path, test)


if __name__ == "__main__":
    writer.SHARED_SECONDS_MAX = SLOW_SECONDS
    two_rounds(sys.argv[1])
