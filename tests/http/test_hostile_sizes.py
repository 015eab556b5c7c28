"""Heads and bodies over their limits are rejected without being read to the end."""

from __future__ import annotations

import threading

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Connection, Response, head_of

MIB = 1024 * 1024
#: Memory that a rejected request may use, whatever its size.
FLAT_BYTES = 24 * MIB


def answer_to(server: HttpServer, data: bytes, *, piece_bytes: int = 1 << 30) -> Response:
    """Send from a thread of its own: the response arrives before all is sent."""
    with Connection(server.port) as connection:

        def send() -> None:
            for start in range(0, len(data), piece_bytes):
                connection.send_all_accepted(data[start : start + piece_bytes])

        sender = threading.Thread(target=send)
        sender.start()
        answer = connection.answer()
        assert answer.headers["connection"] == "close"
        assert connection.closed()
        sender.join()
    return answer


START = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
HEADS = {
    "10,000 headers": (START + b"".join(b"X-%d: a\r\n" % n for n in range(10_000)), 431),
    "101 headers": (START + b"".join(b"X-%d: a\r\n" % n for n in range(101)), 431),
    "10,000 times the same header": (START + b"X: a\r\n" * 10_000, 431),
    "one header of 1 MiB": (START + b"X: " + b"a" * MIB, 431),
    "one header of 17 KiB": (START + b"X: " + b"a" * 17 * 1024, 431),
    "a name of 1 MiB": (START + b"X" * MIB, 431),
    "a token of 1 MiB": (START + b"Authorization: Bearer " + b"a" * MIB, 431),
    "a host of 1 MiB": (b"GET /healthz HTTP/1.1\r\nHost: " + b"a" * MIB, 431),
    "a request line of 100 KiB": (b"GET /" + b"a" * 100 * 1024 + b" HTTP/1.1\r\n", 414),
    "a request line of 9 KiB": (b"GET /" + b"a" * 9 * 1024 + b" HTTP/1.1\r\n", 414),
    "a query of 1 MiB": (b"GET /events?event=" + b"a" * MIB + b" HTTP/1.1\r\n", 414),
}


@pytest.mark.parametrize("piece_bytes", [1 << 30, 1000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_past_its_limit(server: HttpServer, name: str, piece_bytes: int) -> None:
    head, status = HEADS[name]
    before = server.resident_bytes()

    answer = answer_to(server, head + b"\r\n\r\n", piece_bytes=piece_bytes)

    assert answer.status == status
    assert answer.code == ("UriTooLong" if status == 414 else "HeadersTooLarge")
    assert server.resident_bytes() - before < FLAT_BYTES


def test_a_head_at_its_limits_is_fine(server: HttpServer) -> None:
    many = b"".join(b"X-%d: a\r\n" % n for n in range(99))
    large = b"X: " + b"a" * 15 * 1024 + b"\r\n"
    with Connection(server.port) as connection:
        for lines in (many, large):
            connection.send(START + lines + b"\r\n")
            assert connection.answer().status == 200


@pytest.mark.parametrize("target", ["/events", "/events/batch", "/events/validate", "/healthz"])
@pytest.mark.parametrize("length", [5_000_000_000, 5 * MIB + 1, 2**63 - 1])
def test_a_body_that_announces_too_much_is_413_at_once(
    server: HttpServer, project: Project, target: str, length: int
) -> None:
    with Connection(server.port) as connection:
        method = "GET" if target == "/healthz" else "POST"
        connection.send(head_of(method, target, key=project.key, length=length))
        answer = connection.answer()
        assert (answer.status, answer.code) == (413, "RequestTooLarge")
        assert answer.headers["connection"] == "close"
        assert connection.closed()


def test_without_a_key_a_large_body_is_not_even_measured(server: HttpServer) -> None:
    with Connection(server.port) as connection:
        connection.send(head_of("POST", "/events", length=5_000_000_000))
        assert connection.answer().status == 401
        assert connection.closed()


@pytest.mark.parametrize("chunk_bytes", [1, 100, 65_536, 1024 * 1024])
def test_an_endless_chunked_body_is_413(
    server: HttpServer, project: Project, chunk_bytes: int
) -> None:
    head = head_of(
        "POST",
        "/events",
        key=project.key,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    chunk = b"%x\r\n%b\r\n" % (chunk_bytes, b" " * chunk_bytes)
    before = server.resident_bytes()

    answer = answer_to(server, head + chunk * (2 * MIB // chunk_bytes))

    assert (answer.status, answer.code) == (413, "RequestTooLarge")
    assert server.resident_bytes() - before < FLAT_BYTES


@pytest.mark.parametrize(
    ("size", "status"),
    [(b"100001", 413), (b"7fffffff", 413), (b"FFFFFFFFF", 413), (b"0000000000000000026", 400)],
)
@pytest.mark.parametrize("extension", [b"", b";a=b", b";" + b"x" * 200])
def test_a_chunk_that_announces_too_much_is_rejected_at_once(
    server: HttpServer, project: Project, size: bytes, status: int, extension: bytes
) -> None:
    head = head_of(
        "POST",
        "/events",
        key=project.key,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    answer = answer_to(server, head + size + extension + b"\r\n{")
    assert answer.status in (status, 413)


@pytest.mark.parametrize(
    "endless",
    [b"26;a=", b"0\r\nX: ", b"0\r\n" + b"X: a\r\n" * 100_000, b"1;" + b"a" * 20_000],
    ids=["extension", "trailer", "trailers", "long extension"],
)
def test_an_endless_tail_of_a_chunked_body_costs_no_memory(
    server: HttpServer, project: Project, endless: bytes
) -> None:
    head = head_of(
        "POST",
        "/events",
        key=project.key,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    before = server.resident_bytes()

    answer = answer_to(server, head + endless + b"a" * 64 * MIB)

    assert answer.status in (400, 431)
    assert server.resident_bytes() - before < FLAT_BYTES


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_body_that_looks_like_a_chunk_is_no_chunk(
    server: HttpServer, project: Project, cut: int
) -> None:
    """Digits on a line of their own, wherever segments split them, belong to the caller's JSON."""
    body = (
        b'{"event":"a","external_id":"x","payload":{"n":[\r\n' + b"9" * 39 + b"\r\n,1,\r\n"
        b"123456789012345678\r\n]}}"
    )
    head = head_of(
        "POST",
        "/events",
        key=project.key,
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    )
    data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    with Connection(server.port) as connection:
        connection.send(head)
        for start in range(0, len(data), cut):
            connection.send(data[start : start + cut])
        assert connection.answer().status == 202


def test_a_body_of_exactly_the_limit_is_read(project: Project) -> None:
    text = b'{"event":"a","external_id":"x"}'
    client = project.client()
    assert client.post("/events", text + b" " * (MIB - len(text))).status == 202
    assert client.post("/events", text + b" " * (MIB - len(text) + 1)).status == 413
