"""Workers are killed while events are accepted; nothing is lost or duplicated.

Only the test restarts them, without a pause between two kills; the supervisor of the real worker
has tests of its own.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Faulty, send_batch
from tests.support.server import headrace, running_server
from tests.support.waiting import wait_until
from tests.torture.check import compare
from tests.torture.client import Client, Target
from tests.torture.ledger import Ledger
from tests.torture.processing import check_processing, wait_processed
from tests.torture.rows import SqliteRows
from tests.torture.server import ServerProcess, prepare_store
from tests.torture.workers import Workers

KILLS = 8
CLIENTS = 4
EVENTS_BETWEEN_KILLS = 150


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "headrace.db"


@pytest.fixture
def workers(database: Path) -> Iterator[Workers]:
    prepared = prepare_store(database)
    database.with_name("key").write_text(prepared, "ascii")
    made = Workers(database, 2)
    yield made
    made.close()


async def kill_under_load(database: Path, workers: Workers, ledger: Ledger) -> None:
    """Send constantly; repeatedly kill the active worker."""
    server = ServerProcess(database, command="api")
    target = Target(ledger, database.with_name("key").read_text("ascii"))
    await server.start()
    target.port = server.port
    target.up.set()
    clients = [asyncio.create_task(Client(target, f"c{n}", n).run()) for n in range(CLIENTS)]
    for _ in range(KILLS):
        await ledger.wait_acknowledged(EVENTS_BETWEEN_KILLS)
        await asyncio.to_thread(workers.wait_for_progress)
        await asyncio.to_thread(workers.kill_the_one_at_work)
    target.finishing = True
    await asyncio.gather(*clients)
    await asyncio.to_thread(wait_processed, SqliteRows(database))
    assert await asyncio.to_thread(workers.stop) == [0, 0]
    assert await server.stop() == 0


@pytest.mark.slow
def test_no_kill_of_a_worker_loses_or_duplicates_anything(database: Path, workers: Workers) -> None:
    ledger = Ledger()
    asyncio.run(kill_under_load(database, workers, ledger))
    found = compare(ledger, SqliteRows(database))
    assert found.clean, found
    processed = check_processing(SqliteRows(database))
    assert processed.faults == {}
    assert processed.dead_letters == 0
    assert found.acknowledged >= KILLS * EVENTS_BETWEEN_KILLS
    assert 0 < processed.contacts <= 50
    assert processed.events == found.stored + processed.contacts


@pytest.mark.parametrize("nth", [3, 5, 7, 9])
def test_worker_that_crashes_inside_a_commit_leaves_nothing_partial(
    faulty: Faulty, nth: int
) -> None:
    """For each of its first commits: of leadership, of a claim, of a batch."""
    client = faulty.start()
    answer = send_batch(client, [f"k{n}" for n in range(1000)])
    assert answer is not None
    assert answer.json()["accepted"] == 1000
    died = headrace(
        *("worker", "--store", f"sqlite:///{faulty.database}"),
        env={"HEADRACE_FAIL_POINT": f"inside_commit:kill:{nth}"},
    )
    assert died.returncode == -signal.SIGKILL
    workers = Workers(faulty.database, 1)
    try:
        wait_processed(SqliteRows(faulty.database))
        assert workers.stop() == [0]
    finally:
        workers.close()
    assert faulty.stop() == 0
    processed = check_processing(SqliteRows(faulty.database))
    assert processed.faults == {}
    assert processed.dead_letters == 0
    assert processed.events == 1000 + processed.contacts


def test_the_server_replaces_a_worker_that_was_killed(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:

        def workers_started() -> int:
            return server.log_path.read_text("utf-8").count("worker.started")

        def status(event_id: str) -> str:
            return str(server.ask(f"/events/{event_id}")["data"]["status"])

        wait_until(lambda: workers_started() == 1, "a worker starts")
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        (worker,) = children.read_text("ascii").split()
        os.kill(int(worker), signal.SIGKILL)
        event = {"event": "order.completed", "external_id": "x"}
        accepted = server.ask("/events", event)["data"]["id"]
        wait_until(lambda: status(accepted) == "processed", "the event is processed")
        assert workers_started() == 2
