"""SIGTERM under load: every request that was read gets a response, and no other."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tests.torture.check import compare
from tests.torture.client import Client, Target
from tests.torture.ledger import Ledger
from tests.torture.rows import SqliteRows
from tests.torture.server import ServerProcess, prepare_store

CLIENTS = 32
STOP_SECONDS_MAX = 10.0


class Rounds:
    """Some clients that send until the server has ended, and their results."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.ledger = Ledger()
        self.target = Target(self.ledger, prepare_store(database))
        self.seconds = 0.0

    async def run(self, command: str, events: int) -> int:
        """SIGTERM after so many acknowledged events; returns the exit status."""
        server = ServerProcess(self.database, command=command)
        await server.start()
        self.target.port = server.port
        self.target.up.set()
        clients = [
            asyncio.create_task(Client(self.target, f"{command}{events}-{n}", n).run())
            for n in range(CLIENTS)
        ]
        await self.ledger.wait_acknowledged(events)
        # From now on nothing is retried: a request without a response stays without one.
        self.target.finishing = True
        self.target.up.clear()
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        status = await server.ended()
        self.seconds = time.monotonic() - started
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return status


@pytest.mark.parametrize("command", ["serve", "api"])
def test_every_request_read_gets_a_response_and_every_stored_event_was_acknowledged(
    tmp_path: Path, command: str
) -> None:
    rounds = Rounds(tmp_path / "headrace.db")
    assert asyncio.run(rounds.run(command, 1500)) == 0
    assert rounds.seconds < STOP_SECONDS_MAX
    findings = compare(rounds.ledger, SqliteRows(rounds.database))
    assert findings.clean, findings
    assert findings.stored == findings.acknowledged
    assert not rounds.database.with_name("headrace.db-wal").exists()


def test_request_in_progress_is_finished(tmp_path: Path) -> None:
    """Its head was read before SIGTERM, its body comes after."""
    database = tmp_path / "headrace.db"
    key = prepare_store(database)

    async def run() -> tuple[int, bytes]:
        server = ServerProcess(database, command="api")
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"event": "late", "external_id": "c"}).encode()
        writer.write(
            f"POST /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        server.process.send_signal(signal.SIGTERM)
        while await _listens(server.port):
            pass
        writer.write(body)
        answer = await reader.read()
        writer.close()
        return await server.ended(), answer

    status, answer = asyncio.run(run())
    assert status == 0
    assert answer.startswith(b"HTTP/1.1 202 ")
    assert b"connection: close" in answer.lower()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.transport.abort()
    return True
