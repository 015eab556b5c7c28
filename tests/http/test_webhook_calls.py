"""Webhooks called over real sockets: tests, deliveries, and how both are shown."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_endpoint import raw_endpoint
from tests.support.raw_http import Client


@dataclass
class Endpoint:
    """A receiver in a thread, which responds as the test says."""

    status: int = 200
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    state = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.received.append((headers, body))
            self.send_response(state.status)
            self.end_headers()
            self.wfile.write(b"thank you")

        def log_message(self, *_: object) -> None:
            """Send no response."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A server that may call loopback."""
    networks = {"HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8"}
    server = HttpServer(tmp_path_factory.mktemp("calls"), extra_environment=networks)
    server.start(projects=20)
    try:
        yield server
    finally:
        assert server.stop() == 0
    assert "Traceback" not in server.log_text()


@pytest.fixture
def project(open_server: HttpServer) -> Iterator[Project]:
    project = open_server.project()
    yield project
    project.close()


@pytest.fixture
def client(project: Project) -> Client:
    return project.client()


def create(client: Client, url: str) -> dict[str, str]:
    answer = client.post("/webhooks", json.dumps({"url": url, "events": ["*"]}))
    assert answer.status == 201
    shown: dict[str, str] = answer.data
    return shown


def test_a_test_is_a_signed_call(client: Client, endpoint: Endpoint) -> None:
    webhook = create(client, endpoint.url)
    answer = client.request("POST", f"/webhooks/{webhook['id']}/test")
    assert answer.status == 200
    assert answer.data["latency_ms"] > 0
    shown = {name: value for name, value in answer.data.items() if name != "latency_ms"}
    assert shown == {
        "delivered": True,
        "http_status": 200,
        "cause": None,
        "error": None,
        "response": "thank you",
        "note": None,
    }
    ((headers, body),) = endpoint.received
    assert Webhook(webhook["secret"]).verify(body, headers)["type"] == "sendrealm.webhook.test"
    assert client.get("/events").data == []
    assert client.get(f"/webhooks/{webhook['id']}/deliveries").data == []


def test_own_headers_are_sent_with_tests_and_deliveries(client: Client, endpoint: Endpoint) -> None:
    fields = {"url": endpoint.url, "events": ["*"], "headers": {"X-Key": "a-secret-value"}}
    webhook = client.post("/webhooks", json.dumps(fields)).data
    assert client.request("POST", f"/webhooks/{webhook['id']}/test").data["delivered"]
    client.post("/events", json.dumps({"event": "a.b", "external_id": "u"}))
    wait_until(lambda: len(endpoint.received) >= 2, 20)
    assert {headers["x-key"] for headers, _ in endpoint.received} == {"a-secret-value"}


def test_a_webhook_gets_cloudevents(client: Client, endpoint: Endpoint) -> None:
    fields = {"url": endpoint.url, "events": ["a.b"], "format": "cloudevents"}
    webhook = client.post("/webhooks", json.dumps(fields)).data
    assert webhook["format"] == "cloudevents"
    sent = {"event": "a.b", "external_id": "u", "payload": {"n": 1}}
    event = client.post("/events", json.dumps(sent)).data
    path = f"/events/{event['id']}/deliveries"
    wait_until(lambda: [one["status"] for one in client.get(path).data] == ["delivered"], 20)
    ((headers, body),) = endpoint.received
    assert headers["content-type"] == "application/cloudevents+json"
    got = Webhook(webhook["secret"]).verify(body, headers)
    shown = client.get(f"/events/{event['id']}").data
    assert got == {
        "specversion": "1.0",
        "id": event["id"],
        "source": got["source"],
        "type": "a.b",
        "subject": "u",
        "time": shown["occurred_at"],
        "datacontenttype": "application/json",
        "data": shown | {"delivery_status": "pending"},
    }
    assert got["source"].startswith("urn:headrace:project:")
    (delivery,) = client.get(path).data
    assert delivery["request_body"].encode() == body
    request = delivery["attempts"][0]["request"]
    assert request["headers"]["content-type"] == "application/cloudevents+json"
    url = f"/webhooks/{webhook['id']}"
    changed = client.request("PATCH", url, body=b'{"format": "headrace"}').data
    assert changed["format"] == "headrace"
    # The attempt was made before the change.
    (delivery,) = client.get(path).data
    assert delivery["attempts"][0]["request"] == request


def test_deliveries_show_request_and_response(client: Client, endpoint: Endpoint) -> None:
    fields = {"url": endpoint.url, "events": ["a.b"], "headers": {"X-Key": "a-secret-value"}}
    webhook = client.post("/webhooks", json.dumps(fields)).data
    event = client.post("/events", json.dumps({"event": "a.b", "external_id": "u"})).data
    path = f"/events/{event['id']}/deliveries"

    def finished() -> bool:
        found = client.get(path).data
        return len(found) == 1 and found[0]["status"] == "delivered"

    wait_until(finished, 20)
    answer = client.get(f"{path}?limit=1").json()
    assert answer["next_cursor"] is None
    (shown,) = answer["data"]
    ((headers, body),) = endpoint.received
    assert shown["subscriber_id"] == webhook["id"]
    assert shown["request_body"].encode() == body
    assert shown["request_body_bytes"] == len(body)
    (attempt,) = shown["attempts"]
    assert attempt["request"] == {
        "method": "POST",
        "url": endpoint.url,
        "headers": {
            "content-type": "application/json",
            "webhook-id": headers["webhook-id"],
            "webhook-timestamp": headers["webhook-timestamp"],
            "webhook-signature": "v1,***",
            "x-key": "***",
        },
    }
    assert attempt["response_headers"]["server"].startswith("BaseHTTP")
    assert attempt["response"] == "thank you"
    (listed,) = client.get(f"/webhooks/{webhook['id']}/deliveries").data
    assert listed["attempts"] == [attempt]
    texts = (client.get(f"/events/{event['id']}/trace").body + json.dumps(shown).encode()).decode()
    assert "a-secret-value" not in texts
    assert webhook["secret"] not in texts
    client.request("DELETE", f"/webhooks/{webhook['id']}")
    (orphan,) = client.get(path).data
    assert (orphan["request_body"], orphan["attempts"][0]["request"]) == (None, None)
    assert client.get("/events/409b0a92-0f9d-4afa-91bf-449a1fcd2993/deliveries").status == 404


def test_a_test_that_fails_says_how(client: Client, endpoint: Endpoint) -> None:
    webhook = create(client, endpoint.url)
    endpoint.status = 410
    answer = client.request("POST", f"/webhooks/{webhook['id']}/test").data
    assert (answer["delivered"], answer["http_status"], answer["cause"]) == (False, 410, "gone")
    # Only deliveries disable an endpoint.
    assert client.get(f"/webhooks/{webhook['id']}").data["enabled"]


def test_a_test_call_without_a_listener_fails_with_the_cause(client: Client) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        webhook = create(client, url)
        answer = client.request("POST", f"/webhooks/{webhook['id']}/test").data
    assert (answer["http_status"], answer["cause"]) == (None, "connect_failed")
    assert url not in answer["error"]


def test_an_event_reaches_its_webhook_and_is_listed(client: Client, endpoint: Endpoint) -> None:
    webhook = create(client, endpoint.url)
    path = f"/webhooks/{webhook['id']}/deliveries"
    event = client.send({"event": "order.completed", "external_id": "a"}).data

    def delivered() -> bool:
        mine = [one for one in client.get(path).data if one["event"] == "order.completed"]
        return bool(mine) and mine[0]["status"] == "delivered"

    wait_until(delivered, 20)
    (shown,) = [one for one in client.get(path).data if one["event"] == "order.completed"]
    assert shown["event_id"] == event["id"]
    (attempt,) = shown["attempts"]
    assert (attempt["http_status"], attempt["response"]) == (200, "thank you")
    assert attempt["latency_ms"] > 0
    headers, body = next(each for each in endpoint.received if b'"order.completed"' in each[1])
    assert headers["webhook-id"] == shown["id"]
    sent = Webhook(webhook["secret"]).verify(body, headers)
    assert sent["type"] == "order.completed"
    # Under way in the request itself.
    now = client.get(f"/events/{event['id']}").data
    assert sent["data"] == now | {"delivery_status": "pending"}


def test_gone_disables_the_webhook(client: Client, endpoint: Endpoint) -> None:
    endpoint.status = 410
    webhook = create(client, endpoint.url)
    client.send({"event": "order.completed", "external_id": "a"})
    path = f"/webhooks/{webhook['id']}"
    wait_until(lambda: not client.get(path).data["enabled"], 20)
    assert client.get(path).data["disabled_reason"] == "the endpoint returned 410 Gone"
    kinds = {letter["kind"] for letter in client.get("/dead-letters").data}
    assert kinds == {"delivery"}
    causes = {letter["cause"] for letter in client.get("/dead-letters").data}
    assert causes == {"gone"}


def test_deliveries_page(client: Client, endpoint: Endpoint) -> None:
    webhook = create(client, endpoint.url)
    path = f"/webhooks/{webhook['id']}/deliveries"
    for number in range(4):
        client.send({"event": f"order.n{number}", "contact_id": webhook["id"]})
    wait_until(lambda: len(client.get(path).data) == 4, 20)
    first = client.get(f"{path}?limit=3").json()
    rest = client.get(f"{path}?limit=3&cursor={first['next_cursor']}").json()
    names = [one["event"] for one in first["data"] + rest["data"]]
    assert names == ["order.n3", "order.n2", "order.n1", "order.n0"]
    assert rest["next_cursor"] is None
    other = create(client, endpoint.url)
    assert (
        client.get(f"/webhooks/{other['id']}/deliveries?cursor={first['next_cursor']}").status
        == 422
    )


def test_a_test_call_reports_what_could_not_be_read(client: Client) -> None:
    head = b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nnull"
    with raw_endpoint(head) as odd:
        webhook = create(client, odd.url)
        answer = client.request("POST", f"/webhooks/{webhook['id']}/test").data
    assert (answer["delivered"], answer["http_status"], answer["cause"]) == (True, 204, None)
    assert answer["note"] == "this status has no body, so the announced body was not read"


INTERIM = b"HTTP/1.1 102 P\r\n\r\n" * 5000


def test_test_calls_that_meet_a_flood_delay_no_other_request(
    open_server: HttpServer, project: Project, client: Client, endpoint: Endpoint
) -> None:
    """Another webhook's health and tests respond while a flood of tests is processed in turn."""
    healthy = f"/webhooks/{create(client, endpoint.url)['id']}/test"
    before_bytes = open_server.resident_bytes(peak=True)
    other_client = project.client()
    flooded: list[dict[str, Any]] = []
    enough = threading.Event()
    with raw_endpoint(b"", INTERIM) as hostile:
        path = f"/webhooks/{create(client, hostile.url)['id']}/test"

        def call() -> None:
            while not enough.is_set():
                flooded.append(other_client.request("POST", path).data)

        calling = threading.Thread(target=call)
        calling.start()
        try:
            for _ in range(5):
                assert client.request("POST", healthy).data["delivered"]
                assert all(client.get("/healthz").status == 200 for _ in range(10))
            wait_until(lambda: client.get("/healthz").status == 200 and len(flooded) >= 5, 20)
        finally:
            enough.set()
            calling.join()
    assert {(one["delivered"], one["cause"], one["error"]) for one in flooded} == {
        (False, "protocol_error", "too many interim responses (1xx)")
    }
    assert open_server.resident_bytes(peak=True) - before_bytes < 30_000_000


def test_deliveries_that_meet_a_flood_delay_no_others(client: Client, endpoint: Endpoint) -> None:
    healthy = create(client, endpoint.url)
    with raw_endpoint(b"", INTERIM) as hostile:
        flooded = create(client, hostile.url)
        for number in range(20):
            client.send({"event": "order.completed", "external_id": f"customer-{number}"})

        def delivered() -> int:
            path = f"/webhooks/{healthy['id']}/deliveries?limit=100"
            mine = [one for one in client.get(path).data if one["event"] == "order.completed"]
            return sum(one["status"] == "delivered" for one in mine)

        wait_until(lambda: delivered() == 20, 20)
        failed = client.get(f"/webhooks/{flooded['id']}/deliveries?limit=100").data
    causes = [attempt["cause"] for one in failed for attempt in one["attempts"]]
    assert causes
    assert set(causes) == {"protocol_error"}


def test_a_malformed_response_is_one_attempt_with_a_note(client: Client) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"
    with raw_endpoint(head) as odd:
        webhook = create(client, odd.url)
        event = client.send({"event": "order.completed", "external_id": "a"}).data
        path = f"/webhooks/{webhook['id']}/deliveries"

        def of_event() -> list[dict[str, Any]]:
            return [one for one in client.get(path).data if one["event_id"] == event["id"]]

        wait_until(lambda: any(one["status"] == "delivered" for one in of_event()), 20)
        (delivery,) = of_event()
    (attempt,) = delivery["attempts"]
    assert (attempt["http_status"], attempt["cause"], attempt["error"]) == (200, None, None)
    assert attempt["note"] == "Content-Length is invalid, so the body was not read"


def send_again(client: Client, webhook_id: str, **fields: Any) -> dict[str, Any]:
    """Send events to a webhook again and wait for the job."""
    answer = client.post(f"/webhooks/{webhook_id}/resend", json.dumps(fields))
    assert answer.status == 202, answer.body
    path = f"/replays/{answer.data['id']}"
    wait_until(lambda: client.get(path).data["status"] == "done", 20)
    wait_until(lambda: client.get(path).data["pending"] == 0, 20)
    found: dict[str, Any] = client.get(path).data
    return found


def test_delivered_event_is_sent_again_under_the_same_id(
    client: Client, endpoint: Endpoint
) -> None:
    webhook = create(client, endpoint.url)
    event = client.send({"event": "order.completed", "external_id": "a"}).data

    def orders() -> list[tuple[dict[str, str], bytes]]:
        return [each for each in endpoint.received if b'"order.completed"' in each[1]]

    wait_until(lambda: len(orders()) == 1, 20)
    path = f"/webhooks/{webhook['id']}/deliveries"
    wait_until(lambda: {one["status"] for one in client.get(path).data} == {"delivered"}, 20)

    job = send_again(client, webhook["id"], event_ids=[event["id"]])

    assert (job["total"], job["done"], job["succeeded"]) == (1, 1, 1)
    assert job["webhook_id"] == webhook["id"]
    first, second = orders()
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    assert first[1] == second[1]
    assert Webhook(webhook["secret"]).verify(second[1], second[0])
    trace = client.get(f"/events/{event['id']}/trace").data["entries"]
    kinds = [one["type"] for one in trace if one["type"] in {"delivered", "resent"}]
    assert kinds == ["delivered", "resent", "delivered"]


def orders(endpoint: Endpoint) -> list[str]:
    """Ids of the orders that were delivered; a system event about their contact may be, too."""
    found = [json.loads(body)["data"] for _, body in endpoint.received]
    return sorted(one["id"] for one in found if one["event"].startswith("order."))


def test_webhook_made_later_gets_what_was_received_before(
    client: Client, endpoint: Endpoint
) -> None:
    sent = [
        client.send({"event": f"order.n{number}", "external_id": "a"}).data for number in range(3)
    ]
    path = f"/events/{sent[-1]['id']}"
    wait_until(lambda: client.get(path).data["status"] == "processed", 20)
    webhook = create(client, endpoint.url)
    since = {"from": "2026-01-01T00:00:00Z", "event": "order.*"}
    preview = client.post(
        f"/webhooks/{webhook['id']}/resend", json.dumps(since | {"dry_run": True})
    )
    assert (preview.status, preview.data["count"]) == (200, 3)
    assert [one["id"] for one in preview.data["sample"]] == [one["id"] for one in sent]
    assert orders(endpoint) == []

    job = send_again(client, webhook["id"], **since)

    assert (job["done"], job["succeeded"]) == (3, 3)
    assert orders(endpoint) == sorted(one["id"] for one in sent)
    again = send_again(client, webhook["id"], **since, only_failed=True)
    assert (again["total"], again["done"]) == (0, 0)
