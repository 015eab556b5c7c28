"""Connections: versions, closing, upgrades, HEAD, Expect, many idle ones."""

from __future__ import annotations

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Connection, head_of

EVENT = b'{"event":"a","external_id":"x"}'


def post(project: Project, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return head_of("POST", "/events", key=project.key, headers=named, length=len(EVENT))


def test_connection_close_is_obeyed(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        connection.send(post(project, Connection="close") + EVENT)
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (202, "close")
        assert connection.closed()


def test_a_connection_is_kept_by_default(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        for _ in range(5):
            connection.send(post(project) + EVENT)
            answer = connection.answer()
            assert answer.status == 202
            assert "connection" not in answer.headers


@pytest.mark.parametrize("keep_alive", [b"", b"Connection: keep-alive\r\n"])
def test_http_1_0_gets_a_response_and_is_closed(
    server: HttpServer, project: Project, keep_alive: bytes
) -> None:
    request = (post(project) + EVENT).replace(b"HTTP/1.1\r\nHost: test\r\n", b"HTTP/1.0\r\n")
    with Connection(server.port) as connection:
        connection.send(request.replace(b"\r\n\r\n", b"\r\n" + keep_alive + b"\r\n", 1))
        assert connection.answer().status == 202
        assert connection.closed()


def test_expect_100_continue_asks_for_the_body(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        connection.send(post(project, Expect="100-continue"))
        assert connection.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(EVENT)
        assert connection.answer().status == 202


def test_a_rejected_request_gets_no_100_continue(server: HttpServer) -> None:
    head = head_of("POST", "/events", headers={"Expect": "100-continue"}, length=len(EVENT))
    with Connection(server.port) as connection:
        connection.send(head)
        answer = connection.answer()
        assert (answer.status, answer.interim) == (401, ())


@pytest.mark.parametrize("target", ["/healthz", "/events", "/events/stream", "/nowhere", "/docs"])
def test_head_is_get_without_its_body(server: HttpServer, project: Project, target: str) -> None:
    with Connection(server.port) as connection:
        connection.send(head_of("HEAD", target, key=project.key))
        head = connection.answer(head_only=True)
        # A body sent for HEAD would be parsed as the next response.
        connection.send(head_of("GET", "/healthz"))
        assert connection.answer().status == 200
    if target != "/events/stream":
        got = project.client().get(target)
        assert head.status == got.status
        assert head.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize(
    "lines",
    [
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"},
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        },
    ],
    ids=["h2c", "websocket"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_upgrade_is_ignored_and_the_request_handled(
    server: HttpServer, project: Project, lines: dict[str, str], method: str
) -> None:
    body = EVENT if method == "POST" else b""
    length = len(body) if method == "POST" else None
    with Connection(server.port) as connection:
        head = head_of(method, "/events", key=project.key, headers=lines, length=length)
        connection.send(head + body)
        answer = connection.answer()
        assert answer.status == (202 if method == "POST" else 200)
        # The connection stays on HTTP/1.1, in which the other protocol's first bytes mean nothing.
        connection.send(head_of("GET", "/healthz") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert [connection.answer().status for _ in range(2)] == [200, 400]
        assert connection.closed()


def test_the_absolute_form_of_a_target_is_understood(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        connection.send(head_of("GET", "http://example.org/events?limit=1", key=project.key))
        assert connection.answer().status == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://h?/admin/projects", 307),
        (b"http://h?/events", 307),
        (b"HTTPS://h:1?x=/healthz", 307),
        (b"http://h", 307),
        (b"http://h/", 307),
        (b"http://h/healthz", 200),
        (b"http://h/healthz?/x", 200),
        (b"http://h//healthz", 401),
    ],
)
def test_the_host_of_an_absolute_target_ends_where_its_path_or_query_begins(
    server: HttpServer, target: bytes, status: int
) -> None:
    """The redirect is the response for the path `/`."""
    with Connection(server.port) as connection:
        connection.send(b"GET %b HTTP/1.1\r\nHost: h\r\n\r\n" % target)
        assert connection.answer().status == status


@pytest.mark.parametrize("target", ["/healthz", "/readyz", "/openapi.json", "http://a/healthz"])
@pytest.mark.parametrize("lines", [{}, {"Connection": "upgrade", "Upgrade": "a"}])
def test_connect_is_a_method_that_no_path_takes(
    server: HttpServer, target: str, lines: dict[str, str]
) -> None:
    """A client that mistook 405 for a tunnel would next send bytes of another protocol."""
    with Connection(server.port) as connection:
        connection.send(head_of("CONNECT", target, headers=lines) + head_of("GET", "/healthz"))
        answer = connection.answer()
        assert (answer.status, answer.code) == (405, "MethodNotAllowed")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
        assert answer.headers["connection"] == "close"
        assert connection.closed()


def test_connect_with_a_key_does_not_bypass_the_methods(
    server: HttpServer, project: Project
) -> None:
    for target, status in (("/events", 405), ("/contacts", 405), ("/nowhere", 404)):
        with Connection(server.port) as connection:
            connection.send(head_of("CONNECT", target, key=project.key, length=len(EVENT)) + EVENT)
            assert connection.answer().status == status
            assert connection.closed()


def test_an_upgrade_in_http_1_0_is_ignored_and_the_connection_closed(
    server: HttpServer, project: Project
) -> None:
    request = post(project, Connection="upgrade", Upgrade="h2c") + EVENT
    with Connection(server.port) as connection:
        connection.send(request.replace(b"HTTP/1.1\r\nHost: test\r\n", b"HTTP/1.0\r\n") + request)
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (202, "close")
        assert connection.closed()


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_events_with_upgrades_are_stored_as_they_are_sent(
    server: HttpServer, project: Project, coding: str
) -> None:
    """More than may wait at once, behind as many requests that are not events."""
    requests = []
    for number in range(150):
        body = b'{"event":"up","external_id":"%d"}' % number
        lines = {"Connection": "upgrade", "Upgrade": "a"}
        if coding == "chunked":
            lines |= {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
            head = head_of("POST", "/events", key=project.key, headers=lines)
            requests.append(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        else:
            requests.append(post(project, **lines).replace(b": 31", b": %d" % len(body)) + body)
        requests.append(head_of("GET", "/healthz", headers=lines if coding == "length" else {}))
    with Connection(server.port) as connection:
        connection.send(b"".join(requests))
        for number in range(150):
            answer = connection.answer()
            assert (answer.status, answer.data["resolved_identity_value"]) == (202, f"{number}")
            assert connection.answer().status == 200
    page = project.client().get("/events?event=up&limit=200").data
    assert [event["external_id"] for event in page] == [f"{n}" for n in range(149, -1, -1)]


def test_no_redirect_repeats_the_host_a_client_claims(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        for target in ("/events/", "/rejections/", "//evil.example/events", "/healthz/", "/docs/"):
            head = head_of("GET", target, key=project.key, headers={"Host": "evil.example"})
            connection.send(head)
            answer = connection.answer()
            assert answer.status == 404, target
            assert "evil" not in str(answer.headers)


def test_a_thousand_idle_connections_do_not_keep_others_waiting(
    server: HttpServer, project: Project
) -> None:
    idle = [Connection(server.port) for _ in range(1000)]
    try:
        for number, connection in enumerate(idle):
            # A third idle, a third in the middle of a head, a third in the middle of a body.
            connection.send((b"", b"GET /heal", post(project) + EVENT[:5])[number % 3])
        client = project.client()
        for _ in range(100):
            assert client.send({"event": "a", "external_id": "x"}).status == 202
            assert client.get("/events?limit=1").status == 200
    finally:
        for connection in idle:
            connection.close()
