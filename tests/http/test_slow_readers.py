"""Large responses to clients that read them slowly, or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Connection, head_of

EVENTS = 200
PAYLOAD = {"text": "x" * 60_000}
LIST_BYTES = EVENTS * 60_000
TARGET = "/events?event=a&limit=200"


@pytest.fixture(scope="module")
def large(server: HttpServer) -> Iterator[Project]:
    """A project whose first page is 12 MB."""
    project = server.project()
    client = project.client()
    events = [{"event": "a", "external_id": "x", "payload": PAYLOAD}] * (EVENTS // 4)
    for _ in range(4):
        assert client.post("/events/batch", json.dumps({"events": events})).status == 200
    yield project
    project.close()


def test_a_slow_reader_gets_everything_and_blocks_no_other(
    server: HttpServer, large: Project
) -> None:
    others = large.client()
    with Connection(server.port) as connection:
        connection.send(head_of("GET", TARGET, key=large.key))
        head = connection.head()
        left = int(head.headers["content-length"])
        assert left > LIST_BYTES
        for number in range(1 << 30):
            data = connection.socket.recv(min(left, 64 * 1024))
            if number % 5 == 0:
                assert others.get("/events?limit=1").status == 200
            left -= len(data)
            # The head may have arrived with a part of the body.
            if data.endswith(b'"next_cursor":null}') or not left:
                break


def test_unread_lists_do_not_accumulate(server: HttpServer, large: Project) -> None:
    """Pipelined on one connection, each response is produced when the previous one was read."""
    before = server.resident_bytes()
    others = large.client()
    with Connection(server.port) as connection:
        connection.send(head_of("GET", TARGET, key=large.key) * 30)
        connection.head()
        for _ in range(50):
            assert others.get("/events?limit=1").status == 200
        assert server.resident_bytes() - before < 8 * LIST_BYTES
        connection.close()


def test_a_client_that_leaves_in_the_middle_affects_no_other(
    server: HttpServer, large: Project
) -> None:
    for _ in range(10):
        with Connection(server.port) as connection:
            connection.send(head_of("GET", TARGET, key=large.key))
            connection.head()
    assert large.client().get("/events?limit=1").status == 200
