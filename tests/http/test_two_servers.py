"""Two servers on one database: each sees what the other accepted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.domain.events.event import Status
from tests.http.conftest import Servers
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import HOST, Client, head_of
from tests.support.stream import Watcher

PARALLEL = 60
ROUNDS = 5


@pytest.fixture(scope="module")
def server(servers: Servers) -> HttpServer:
    return servers.on("postgresql")


@pytest.fixture(scope="module")
def second(server: HttpServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """Another `headrace api` on the same database."""
    folder: Path = tmp_path_factory.mktemp("second")
    other = HttpServer(folder, shared_url=server.store_url, command="api")
    other.start(projects=0)
    yield other
    assert other.stop() == 0
    assert "Traceback" not in other.log_text()


@pytest.fixture
def beside(second: HttpServer, project: Project) -> Iterator[Client]:
    """Calls the second server with a key of the project."""
    client = Client(second.port, project.key)
    yield client
    client.close()


async def post_all(requests: list[tuple[int, bytes]]) -> list[tuple[int, str]]:
    """Send each to its port; all connections are open before the first byte is sent."""
    streams = await asyncio.gather(*(asyncio.open_connection(HOST, port) for port, _ in requests))
    for (_, writer), (_, request) in zip(streams, requests, strict=True):
        writer.write(request)
    answers = []
    for reader, writer in streams:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        data = json.loads(await reader.readexactly(length))["data"]
        answers.append((int(head.split()[1]), str(data["id"])))
        writer.close()
    return answers


def test_of_parallel_posts_to_both_with_a_new_key_one_is_202(
    server: HttpServer, second: HttpServer, project: Project
) -> None:
    ports = (server.port, second.port)
    for number in range(ROUNDS):
        sent = {"event": "a", "external_id": "x", "idempotency_key": f"key {number}"}
        body = json.dumps(sent).encode()
        request = head_of("POST", "/events", key=project.key, length=len(body)) + body
        answers = asyncio.run(post_all([(ports[n % 2], request) for n in range(PARALLEL)]))
        assert Counter(status for status, _ in answers) == {202: 1, 200: PARALLEL - 1}
        assert len({event_id for _, event_id in answers}) == 1
    assert len(project.client().get("/events?event=a").data) == ROUNDS


def test_an_accepted_event_can_be_read_on_the_other_server_at_once(
    project: Project, beside: Client
) -> None:
    for number in range(10):
        sent = {"event": "a", "external_id": f"{number}", "idempotency_key": f"k{number}"}
        event_id = project.client().send(sent).data["id"]
        assert beside.get(f"/events/{event_id}").status == 200
        assert beside.get(f"/events/by-idempotency-key/k{number}").data["id"] == event_id
    assert len(beside.get("/events?event=a").data) == 10


def test_a_stream_sees_events_of_both_servers_once(
    second: HttpServer, project: Project, beside: Client
) -> None:
    with Watcher(second.port) as watcher:
        watcher.start(project.key)
        client = project.client()
        sent = {
            (client if number % 2 else beside)
            .send({"event": "a", "external_id": f"{number}"})
            .data["id"]
            for number in range(40)
        }
        seen = [watcher.event()["id"] for _ in sent]
        assert sorted(seen) == sorted(sent)
        # A duplicate would arrive before this one.
        last = client.send({"event": "a", "external_id": "last"}).data["id"]
        assert watcher.event()["id"] == last


def test_a_policy_changed_beside_them_counts_at_both(
    server: HttpServer, project: Project, beside: Client
) -> None:
    clients = (project.client(), beside)
    for client in clients:
        assert client.send({"event": "a", "external_id": "x"}).status == 202
    server.set_policy(project, "idempotency_conflict", "reject")
    for number, client in enumerate(clients):
        sent = {"event": "a", "external_id": "x", "idempotency_key": f"k{number}"}
        assert client.send(sent).status == 202

        def refused(client: Client = client, sent: dict[str, str] = sent) -> bool:
            return client.send({**sent, "external_id": "y"}).status == 422

        assert wait_until(refused, 10) < 10


def test_the_worker_of_one_processes_what_the_other_accepts(
    project: Project, beside: Client
) -> None:
    event_id = beside.send({"event": "a", "external_id": "x"}).data["id"]
    processed = Status.PROCESSED.name.lower()
    client = project.client()

    def done() -> bool:
        return bool(client.get(f"/events/{event_id}").data["status"] == processed)

    assert wait_until(done, 20) < 20
