"""One hostile connection: the events of other clients are stored meanwhile."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.server import Faulty, ask_until, send
from tests.faults.strace import inject
from tests.support.raw_http import Response
from tests.torture.check import compare
from tests.torture.client import Client, Target, event_of
from tests.torture.ledger import Ledger, Verdict
from tests.torture.rows import SqliteRows
from tests.torture.server import ServerProcess, prepare_store

CLIENTS = 8
#: Longest time without an acknowledged event after an attack.
RECOVERY_SECONDS_MAX = 5.0
LOG_BYTES_MAX = 20_000
EVENTS = 3
UPGRADE = "Connection: upgrade\r\nUpgrade: a\r\n"
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"


def get(lines: str) -> bytes:
    return f"GET /healthz HTTP/1.1\r\nHost: test\r\n{lines}\r\n".encode()


def refused(lines: str) -> bytes:
    return f"POST /events HTTP/1.1\r\nHost: test\r\n{lines}Content-Length: 2\r\n\r\n{{}}".encode()


def post(lines: str, key: str, text: str) -> bytes:
    """An event, in a chunk if `lines` say so."""
    head = (
        f"POST /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\n{lines}"
    )
    if CHUNKED in lines:
        return f"{head}\r\n{len(text):x}\r\n{text}\r\n0\r\n\r\n".encode()
    return f"{head}Content-Length: {len(text)}\r\n\r\n{text}".encode()


def attacks() -> Iterator[tuple[str, bytes, int, str]]:
    """Name, data before the events, its number of responses, and lines of the events.

    A stack that grows with each request overflows somewhere between the numbers of the first kind;
    what fails there depends on the last frames that still fit.
    """
    for count in range(470, 500):
        yield f"{count} upgrades", get(UPGRADE) * count, count, UPGRADE
    yield "upgrades", get(UPGRADE) * 5000, 5000, UPGRADE
    yield "h2c", get(H2C) * 2000, 2000, H2C + CHUNKED
    yield "refused upgrades", refused(UPGRADE) * 3000, 3000, UPGRADE + CHUNKED
    yield "refused behind one", get("") + refused("") * 3000, 3001, ""
    yield "mixed", (get(UPGRADE) + refused(H2C) + get("")) * 1000, 3000, UPGRADE


async def attack(
    port: int, target: Target, name: str, data: bytes, answers: int, lines: str
) -> None:
    """Send it all at once followed by some events, and read every response."""
    keys = [f"{name}-{number}" for number in range(EVENTS)]
    for key in keys:
        event = event_of(key)
        target.ledger.invoke(key, json.dumps(event["payload"]))
        data += post(lines, target.key, json.dumps(event))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    for _ in range(answers):
        assert await status_and_body(reader) in ((200, "ok"), (401, ""))
    for key in keys:
        status, event_id = await status_and_body(reader)
        assert status == 202
        target.ledger.answered(key, Verdict.ACCEPTED, event_id)
    writer.close()


async def status_and_body(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status, and the id or status in the body."""
    async with asyncio.timeout(RECOVERY_SECONDS_MAX):
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        data = json.loads(await reader.readexactly(int(length))).get("data", {})
    return int(head[9:12]), data.get("id", data.get("status", ""))


def test_events_are_stored_while_hostile_pipelines_are_sent(
    tmp_path: Path,
) -> None:
    database = tmp_path / "headrace.db"
    ledger = Ledger()
    target = Target(ledger, prepare_store(database))
    slowest: list[tuple[float, str]] = []

    async def run() -> None:
        server = ServerProcess(database, command="api")
        await server.start()
        target.port = server.port
        target.up.set()
        clients = [asyncio.create_task(Client(target, f"c{n}", n).run()) for n in range(CLIENTS)]
        for name, data, answers, lines in attacks():
            await attack(server.port, target, name, data, answers, lines)
            ended = time.monotonic()
            async with asyncio.timeout(RECOVERY_SECONDS_MAX):
                await ledger.wait_acknowledged(CLIENTS)
            slowest.append((time.monotonic() - ended, name))
        target.finishing = True
        await asyncio.gather(*clients)
        assert await server.stop() == 0
        assert server.log.stat().st_size < LOG_BYTES_MAX

    try:
        asyncio.run(run())
        findings = compare(ledger, SqliteRows(database))
    finally:
        sys.stdout.write(
            f"{ledger.acknowledged} events acknowledged; longest time to the next ones after an "
            f"attack: {max(slowest, default=None)}\n"
        )
    assert findings.clean, findings
    assert not ledger.surprises


@pytest.mark.slow
def test_readiness_reports_a_writer_that_does_not_respond(faulty: Faulty) -> None:
    """The disk blocks in the middle of a commit, longer than an event should wait."""
    client = faulty.start(wrapper=inject("delay_enter=8000000:when=12"))
    sender = faulty.client()
    answers: list[Response | None] = []
    sending = threading.Thread(
        target=lambda: answers.extend(send(sender, f"k{number}") for number in range(30))
    )
    assert client.get("/readyz").status == 200
    sending.start()
    ask_until(lambda: client.get("/readyz").status == 503)
    assert "have waited" in client.get("/readyz").data["reason"]
    sending.join()
    assert [answer and answer.status for answer in answers] == [202] * 30
    assert client.get("/readyz").status == 200
