"""Every log line stays one line of JSON and reveals nothing of a request's contents."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http_server import HttpServer, wait_until
from tests.support.raw_http import Connection, ConnectionEndedError, head_of

CANARY = "canary-52c1"
EVIL = f'{CANARY}\nlevel=ERROR msg="{CANARY}"\r\n{{"level":"error"}}\x1b[31m\u2028'


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[HttpServer]:
    """A server of its own with the most verbose log level."""
    server = HttpServer(tmp_path, {"HEADRACE_LOG_LEVEL": "debug"})
    server.start(projects=1)
    yield server
    server.process.kill()


def test_no_field_reaches_the_log(talkative: HttpServer) -> None:
    project = talkative.project()
    client = project.client()
    good = {"event": "a", "external_id": "x"}
    for field in ("event", "contact_id", "external_id", "email", "occurred_at", "idempotency_key"):
        for text in (EVIL, CANARY):
            client.send({**good, field: text})
            client.send({**good, field: [text]})
    client.send({**good, "payload": {EVIL: EVIL}})
    client.send({**good, EVIL: EVIL})
    client.send({**good, "payload": EVIL})
    client.post("/events", f'{{"event":"{CANARY}')
    client.post("/events", CANARY, body_type=CANARY)
    client.post("/events", CANARY, headers={"Content-Encoding": CANARY})
    client.post("/events/batch", f'{{"events":["{CANARY}"]}}')
    client.post("/events/batch", EVIL, body_type="application/x-ndjson")
    client.post("/events/validate", EVIL)
    quoted = urllib.parse.quote(EVIL)
    for target in (f"/events?event={quoted}", f"/events?{quoted}=1", f"/{quoted}"):
        client.get(target)
    client.get(f"/events/{quoted}")
    client.get(f"/events/by-idempotency-key/{quoted}")
    client.get("/events", X_Any=CANARY, User_Agent=CANARY, Cookie=CANARY)
    client.get(f"/events?cursor={CANARY}")
    for broken in (
        f"GET /{CANARY} HTTP/1.1\nHost: {CANARY}\n\n".encode(),
        f"{CANARY} / HTTP/1.1\r\n\r\n".encode(),
        head_of("GET", "/events", key=f"hr_{CANARY}"),
        head_of("POST", "/events", key=project.key, headers={"Transfer-Encoding": CANARY}),
    ):
        with Connection(talkative.port) as connection:
            connection.send(broken)
            try:
                connection.answer()
            except ConnectionEndedError:
                continue
    wait_until(lambda: len(client.get("/rejections?limit=200").data) > 20, 5)
    metrics = client.get("/metrics").body.decode()
    project.close()
    assert talkative.stop() == 0

    log = talkative.log_text()
    secret = project.key.split("_")[2]
    for text in (log, metrics):
        assert CANARY not in text
        assert secret not in text
    for line in log.splitlines():
        assert json.loads(line)["level"] in ("debug", "info")


def test_the_end_of_a_server_does_not_wait_for_its_watchers(tmp_path: Path) -> None:
    server = HttpServer(tmp_path)
    server.start(projects=1)
    project = server.project()
    with Connection(server.port) as watcher, Connection(server.port) as idle:
        watcher.send(head_of("GET", "/events/stream", key=project.key))
        watcher.read_until(b"connected")
        idle.send(b"GET /he")
        server.process.terminate()
        assert server.process.wait(5) == 0
    assert server.stop() == 0
