"""The database lacks connections, disk space, or the possibility to vacuum."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.faults.shared import EVENTS, OwnPlace, own_place, run
from tests.support.postgres import PostgresServer, aside
from tests.support.raw_http import Client
from tests.torture.client import event_of
from tests.torture.ledger import Verdict
from tests.torture.nodes import Nodes

MIB = 1024 * 1024
DISK_BYTES = 400 * MIB
ASKERS = 24
QUESTIONS = 20


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A small file system that the user of the server can access."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-disk-"))
    folder.chmod(0o755)
    options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def test_requests_over_two_connections_wait_or_are_rejected(tmp_path: Path) -> None:
    """Every response is a result or a retry later; and no event is lost."""
    with own_place() as place:
        statuses: list[int] = []

        async def few(nodes: Nodes) -> None:
            await nodes.add_api(environment={"HEADRACE_POSTGRES_CONNECTIONS_MAX": "2"})
            await nodes.add_worker(environment={"HEADRACE_POSTGRES_CONNECTIONS_MAX": "2"})

        async def fault(nodes: Nodes) -> None:
            target = nodes.targets[0]

            def ask() -> None:
                client = Client(target.port, target.key)
                path = "/events?limit=200"
                statuses.extend(client.get(path).status for _ in range(QUESTIONS))
                client.close()

            await asyncio.gather(*(asyncio.to_thread(ask) for _ in range(ASKERS)))

        run(place, tmp_path, fault, prepare=few)
        assert len(statuses) == ASKERS * QUESTIONS
        assert set(statuses) <= {200, 503}
        assert 200 in statuses


def test_server_without_free_connections_is_retried(tmp_path: Path) -> None:
    """Another client takes all connections when every session of Headrace is ended."""
    with own_place(max_connections="30", superuser_reserved_connections="0") as place:

        async def fault(_: Nodes) -> None:
            taken = await asyncio.to_thread(take_all_connections, place)
            await asyncio.to_thread(give_back, taken)

        run(place, tmp_path, fault)


def take_all_connections(place: OwnPlace) -> list[asyncpg.Connection]:
    """End the sessions of Headrace and take their slots, until the server accepts no more."""

    async def take() -> list[asyncpg.Connection]:
        held = [await asyncpg.connect(place.server.url("postgres"))]
        ends = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'headrace'"
        )
        while True:
            await held[0].execute(ends)
            try:
                held.append(await asyncpg.connect(place.server.url("postgres")))
            except asyncpg.TooManyConnectionsError:
                return held

    return aside(take())


def give_back(taken: list[asyncpg.Connection]) -> None:
    async def close() -> None:
        for connection in taken:
            await connection.close()

    aside(close())


def test_open_snapshot_stops_nothing(tmp_path: Path) -> None:
    """Meanwhile no row of the queue can be vacuumed; everything is still processed."""
    with own_place() as place:

        async def fault(nodes: Nodes) -> None:
            reader = await asyncpg.connect(place.url)
            async with reader.transaction(isolation="repeatable_read", readonly=True):
                before = await reader.fetchval("SELECT count(*) FROM event_states")
                await nodes.acknowledged(4 * EVENTS)
                done = place.run_sql("SELECT count(*) FROM event_states")[0][0]
                assert done > before
                assert await reader.fetchval("SELECT count(*) FROM event_states") == before
            await reader.close()

        run(place, tmp_path, fault)


def test_full_disk_rejects_events_and_recovers(tmp_path: Path) -> None:
    """Acknowledged events stay; a server that stopped is restarted once there is space."""
    with small_disk() as disk:
        server = PostgresServer(
            room=disk, max_wal_size="64MB", min_wal_size="32MB", shared_buffers="32MB"
        )
        try:
            server.start()
            place = OwnPlace(server)
            filler = disk / "filler"

            async def fault(nodes: Nodes) -> None:
                fill(filler)
                await refused(nodes)
                filler.unlink()
                if not server.runs:
                    server.stop()
                    server.start()

            run(place, tmp_path, fault)
        finally:
            server.remove()


def fill(path: Path) -> None:
    """Take the space that is left, while others take some too."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MIB))


async def refused(nodes: Nodes) -> None:
    """Load continues until events are rejected."""
    target = nodes.targets[0]

    def ask() -> None:
        client = Client(target.port, target.key)
        for number in range(10_000):
            event = event_of(f"filling-{number}")
            event["payload"] = {"text": "x" * 60_000}
            nodes.ledger.invoke(event["idempotency_key"], json.dumps(event["payload"]))
            answer = client.send(event)
            if answer.status == 503:
                assert int(answer.headers["retry-after"]) > 0
                client.close()
                return
            nodes.ledger.answered(event["idempotency_key"], Verdict.ACCEPTED, answer.data["id"])
        pytest.fail("the disk was never full")

    await asyncio.to_thread(ask)
