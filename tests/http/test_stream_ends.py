"""How `GET /events/stream` ends when its key loses access, or the server stops.

All streams are opened first and all rights withdrawn together; then each has to end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.domain.access.api_keys import Scope
from headrace.domain.timestamps import now_us
from tests.support.http_server import ACTOR, HttpServer, Project, wait_until
from tests.support.raw_http import Client, Connection, ConnectionEndedError, head_of
from tests.support.raw_sql import run_sql
from tests.support.stream import Watcher

ACCESS_ENDED = 'event: end\ndata: {"reason":"access_ended"}'
STOPPING = 'event: end\ndata: {"reason":"server_stopping"}'
DAY_US = 24 * 3600 * 1_000_000
#: Twelve megabytes: more than sockets buffer, so a client that does not read blocks the server.
LARGE = [{"event": "a", "external_id": "x", "payload": {"text": "x" * 60_000}}] * 50
ROUNDS = 4


def public_id(key: str) -> str:
    return key.split("_")[1]


def revoke_by_command(server: HttpServer, key: str) -> None:
    command = [sys.executable, "-m", "headrace", "key", "revoke", public_id(key)]
    subprocess.run([*command, "--store", server.store_url], check=True, capture_output=True)


def revoke_by_a_fast_clock(server: HttpServer, key: str) -> None:
    """As a command on a machine whose clock is a day ahead would."""
    at_us = now_us() + DAY_US
    server.in_store(lambda store: store.projects.revoke_key(public_id(key), at_us, actor=ACTOR))


def set_column(column: str, value: str | int | bytes) -> Callable[[HttpServer, str], None]:
    def change(server: HttpServer, key: str) -> None:
        sql = f"UPDATE api_keys SET {column} = ? WHERE public_id = ?"
        run_sql(server.store_url, sql, value, public_id(key))

    return change


def delete(server: HttpServer, key: str) -> None:
    run_sql(server.store_url, "DELETE FROM api_keys WHERE public_id = ?", public_id(key))


WAYS: dict[str, Callable[[HttpServer, str], None]] = {
    "revoked by the command": revoke_by_command,
    "revoked by a fast clock": revoke_by_a_fast_clock,
    "read scope removed": set_column("scopes", "ingest manage"),
    "all scopes removed": set_column("scopes", ""),
    "made to expire": set_column("expires_us", 1),
    "secret replaced": set_column("secret_hash", b"x" * 32),
    "row deleted": delete,
}


class Streams:
    """One stream for each way to lose access, one that keeps it, one that expires."""

    def __init__(self, server: HttpServer, project: Project, held: ExitStack) -> None:
        self.server = server
        self.project = project
        self._held = held
        self.keys = {}
        for way in WAYS:
            newest = self.keys[way] = server.issue_key(project)
        self.watchers = {}
        assert wait_until(lambda: self._works(newest), 10) < 10
        for way, key in self.keys.items():
            self.watchers[way] = self._watch(key)
        self.watchers["expired"] = self._watch_until_it_expires()
        self.keeps = self._watch(project.key)
        self._ends: dict[str, str] = {}

    def _works(self, key: str) -> bool:
        client = Client(self.server.port, key)
        status = client.get("/events").status
        client.close()
        return status == 200

    def _watch(self, key: str) -> Watcher:
        watcher = self._held.enter_context(Watcher(self.server.port))
        watcher.start(key)
        return watcher

    def _watch_until_it_expires(self) -> Watcher:
        """A stream of a key that is valid just long enough to open it."""
        for life_s in (2, 4, 8, 16):
            expires_us = now_us() + life_s * 1_000_000
            key = self.server.issue_key(self.project, expires_us=expires_us)
            while now_us() < expires_us:
                if self._works(key):
                    return self._watch(key)
        raise AssertionError

    def end_of(self, way: str) -> str:
        """The last message of a stream."""
        if way not in self._ends:
            self._ends[way] = self.watchers[way].last_message()
        return self._ends[way]

    def take_rights_away(self) -> None:
        for way, take_away in WAYS.items():
            take_away(self.server, self.keys[way])
        # Changes made past the store become visible with the next change made through it.
        self.server.set_policy(self.project, "event_retention_days", 30)


@pytest.fixture(scope="module")
def streams(server: HttpServer) -> Iterator[Streams]:
    project = server.project()
    with ExitStack() as held:
        made = Streams(server, project, held)
        made.take_rights_away()
        yield made
    project.close()


@pytest.mark.parametrize("way", [*WAYS, "expired"])
def test_a_stream_ends_with_the_right_of_its_key(streams: Streams, way: str) -> None:
    assert streams.end_of(way) == ACCESS_ENDED


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_not_opened_again(streams: Streams, way: str) -> None:
    streams.end_of(way)
    client = Client(streams.server.port, streams.keys[way])
    status = 403 if way.endswith("removed") else 401
    assert client.get("/events/stream").status == status
    client.close()


def test_streams_of_another_key_of_the_project_continue(streams: Streams) -> None:
    for way in streams.watchers:
        streams.end_of(way)
    sent = streams.project.client().send({"event": "a", "external_id": "x"}).data["id"]
    assert streams.keeps.event()["id"] == sent


def test_no_response_follows_a_stream_that_ended(server: HttpServer, project: Project) -> None:
    """A request pipelined behind the stream was authorized while the key was still valid."""
    key = issue_working_key(server, project)
    listed = head_of("GET", "/events", key=key)
    with Watcher(server.port) as watcher:
        watcher.start_by(head_of("GET", "/events/stream", key=key) + listed * 20)
        watcher.send(listed)
        revoke(server, key)
        assert watcher.last_message() == ACCESS_ENDED


def test_a_request_that_waits_for_its_turn_needs_a_key_that_still_works(
    server: HttpServer, project: Project
) -> None:
    send_large_events(project)
    key = issue_working_key(server, project)
    with Connection(server.port) as connection:
        # The second is not parsed until the first response, of several MB, was read.
        connection.send(
            head_of("GET", "/events?limit=200", key=key) + head_of("GET", "/events", key=key)
        )
        connection.head()
        revoke(server, key)
        other = Client(server.port, key)
        assert wait_until(lambda: other.get("/events").status == 401, 10) < 10
        other.close()
        connection.read_until(b'"next_cursor":')
        connection.read_until(b"}")
        assert connection.answer().status == 401


def test_a_client_that_does_not_read_is_cut(server: HttpServer, project: Project) -> None:
    key = issue_working_key(server, project)
    with Watcher(server.port) as watcher:
        watcher.start(key)
        own_port = watcher.socket.getsockname()[1]
        send_large_events(project)
        assert is_connected(server.port, own_port)
        revoke(server, key)
        # Long before a client that reads nothing is closed anyway.
        assert wait_until(lambda: not is_connected(server.port, own_port), 15) < 15
        with pytest.raises((ConnectionEndedError, ConnectionResetError)):
            watcher.last_message()


def test_a_stopping_server_ends_its_streams(tmp_path: Path) -> None:
    server = HttpServer(tmp_path)
    server.start(projects=1)
    project = server.project()
    with Watcher(server.port) as watcher, Watcher(server.port) as idle:
        watcher.start(project.key)
        idle.start(project.key)
        send_large_events(project)
        for _ in range(ROUNDS * len(LARGE)):
            watcher.event()
        project.close()
        # The client that did not read does not delay the end.
        assert server.stop() == 0
        assert watcher.last_message() == STOPPING
    assert '"every_request_responded": true' in server.log_text()


def send_large_events(project: Project) -> None:
    for _ in range(ROUNDS):
        answer = project.client().post("/events/batch", json.dumps({"events": LARGE}))
        assert answer.json()["accepted"] == len(LARGE)


def issue_working_key(server: HttpServer, project: Project) -> str:
    key = server.issue_key(project, (Scope.READ,))
    client = Client(server.port, key)
    assert wait_until(lambda: client.get("/events").status == 200, 10) < 10
    client.close()
    return key


def revoke(server: HttpServer, key: str) -> None:
    server.in_store(lambda store: store.projects.revoke_key(public_id(key), now_us(), actor=ACTOR))


def is_connected(server_port: int, client_port: int) -> bool:
    """Whether the server has its end of a connection open, as the kernel sees it."""
    ends = f":{server_port:04X} 0100007F:{client_port:04X} 01 "
    return ends in Path("/proc/net/tcp").read_text("ascii")
