"""Malformed or ambiguous framing is rejected, and the connection closed so nothing can follow."""

from __future__ import annotations

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Connection, ConnectionEndedError

EVENT = b'{"event":"smuggled","external_id":"x"}'
SIZE = b"%d" % len(EVENT)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVENT), EVENT)

#: Lines after `POST /events HTTP/1.1`, `Host`, `Authorization` and `Content-Type`; then the body.
MALFORMED = {
    "length and chunked": (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
    "chunked and length": (b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKED),
    "two lengths": (b"Content-Length: %b\r\nContent-Length: 5\r\n" % SIZE, EVENT),
    "same length twice": (b"Content-Length: %b\r\nContent-Length: %b\r\n" % (SIZE, SIZE), EVENT),
    "list of lengths": (b"Content-Length: %b, %b\r\n" % (SIZE, SIZE), EVENT),
    "length +5": (b"Content-Length: +5\r\n", EVENT),
    "length -1": (b"Content-Length: -1\r\n", EVENT),
    "length 0x5": (b"Content-Length: 0x5\r\n", EVENT),
    "length 5_0": (b"Content-Length: 3_8\r\n", EVENT),
    "length 1e2": (b"Content-Length: 1e2\r\n", EVENT),
    "length 5.0": (b"Content-Length: 38.0\r\n", EVENT),
    "length of 20 digits": (b"Content-Length: 18446744073709551654\r\n", EVENT),
    "length of 40 digits": (b"Content-Length: " + b"9" * 40 + b"\r\n", EVENT),
    "length empty": (b"Content-Length:\r\n", EVENT),
    "length with a space inside": (b"Content-Length: 3 8\r\n", EVENT),
    "length in quotes": (b'Content-Length: "38"\r\n', EVENT),
    "length in other digits": (b"Content-Length: \xd9\xa3\xd9\xa8\r\n", EVENT),
    "length after a vertical tab": (b"Content-Length: \x0b%b\r\n" % SIZE, EVENT),
    "space before the colon": (b"Content-Length : %b\r\n" % SIZE, EVENT),
    "chunked, space before the colon": (b"Transfer-Encoding : chunked\r\n", CHUNKED),
    "bare LF after a header": (b"X-A: b\nContent-Length: %b\r\n" % SIZE, EVENT),
    "bare CR in a header": (b"X-A: b\rX-C: d\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "folded header": (b"X-A: b\r\n folded\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "folded by a tab": (b"X-A: b\r\n\tfolded\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "folded transfer encoding": (b"Transfer-Encoding:\r\n chunked\r\n", CHUNKED),
    "NUL in a header": (b"X-A: b\x00c\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "NUL in a name": (b"X\x00A: b\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "no colon": (b"X-A\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "empty name": (b": b\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "name in quotes": (b'"X": b\r\nContent-Length: %b\r\n' % SIZE, EVENT),
    "encoding identity": (b"Transfer-Encoding: identity\r\n", EVENT),
    "encoding gzip, chunked": (b"Transfer-Encoding: gzip, chunked\r\n", CHUNKED),
    "encoding chunked, identity": (b"Transfer-Encoding: chunked, identity\r\n", CHUNKED),
    "encoding chunked, chunked": (b"Transfer-Encoding: chunked, chunked\r\n", CHUNKED),
    "encoding xchunked": (b"Transfer-Encoding: xchunked\r\n", CHUNKED),
    "encoding chunked;q=1": (b"Transfer-Encoding: chunked;q=1\r\n", CHUNKED),
    "encoding in quotes": (b'Transfer-Encoding: "chunked"\r\n', CHUNKED),
    "encoding empty": (b"Transfer-Encoding:\r\n", CHUNKED),
    "encoding after a vertical tab": (b"Transfer-Encoding: \x0bchunked\r\n", CHUNKED),
    "encoding twice": (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
    "encoding, then identity": (
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        CHUNKED,
    ),
    "two hosts": (b"Host: other\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "two idempotency keys": (
        b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: %b\r\n" % SIZE,
        EVENT,
    ),
    "two types": (b"Content-Type: text/plain\r\nContent-Length: %b\r\n" % SIZE, EVENT),
    "two encodings": (
        b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\nContent-Length: %b\r\n" % SIZE,
        EVENT,
    ),
}

#: Bodies after `Transfer-Encoding: chunked`.
MALFORMED_CHUNKS = {
    "size FFFFFFFFFFFFFFFF": b"FFFFFFFFFFFFFFFF\r\n",
    "size FFFFFFFFFFFFFFFFF": b"FFFFFFFFFFFFFFFFF\r\n",
    "size 16 digits, small": b"8000000000000000\r\nabc",
    "size with 0x": b"0x26\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size with +": b"+26\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size negative": b"-1\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size empty": b"\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size no hex": b"zz\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size with a space in front": b" 26\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size with an underscore": b"2_6\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size line ends with LF": b"26\n" + EVENT + b"\r\n0\r\n\r\n",
    "chunk longer than said": b"25\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "chunk shorter than said": b"27\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "chunk ends with LF": b"26\r\n" + EVENT + b"\n0\r\n\r\n",
    "last chunk ends with LF": b"26\r\n" + EVENT + b"\r\n0\n\n",
    "extension with NUL": b"26;a=\x00\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "extension with bare CR": b"26;a\rb\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "extension with bare LF": b"26;a\nb\r\n" + EVENT + b"\r\n0\r\n\r\n",
}

START = {
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/1.2": b"GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/9.9": b"GET /healthz HTTP/9.9\r\nHost: a\r\n\r\n",
    "http/1.1": b"GET /healthz http/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.10": b"GET /healthz HTTP/1.10\r\nHost: a\r\n\r\n",
    "unknown method": b"FETCH /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "method in lower case": b"get /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": b" /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /health z HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab": b"GET\t/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "LF after the first line": b"GET /healthz HTTP/1.1\nHost: a\r\n\r\n",
    "only LF": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "space before the first header": b"GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n",
    "NUL in the target": b"GET /healthz\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "target without slash": b"GET healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "target of another scheme": b"GET ftp://a/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT, no host": b"CONNECT :443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a user": b"GET http://u@a/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a password": b"GET http://u:p@a/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without host": b"GET http:///healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with a wrong port": b"GET http://a:b/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "target with half an IPv6": b"GET http://[::1/healthz HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS hello": bytes.fromhex("1603010200010001fc0303") + b"\x55" * 200,
    "socks": b"\x05\x01\x00",
    "zeros": b"\x00" * 100,
    "0xFF": b"\xff" * 100,
}


#: Not a `host[:port]`.
NOT_HOSTS = [
    b"a b@c/d?",
    b"a b",
    b"a\tb",
    b"user@a",
    b"user:password@a",
    b"a/b",
    b"a?b",
    b"a#b",
    b"a\\b",
    b"a, b",
    b"http://a",
    b"a:b",
    b"a:-1",
    b"a:+80",
    b"a:65536",
    b"a:000080",
    b"a:80:80",
    b"::1",
    b"[::1",
    b"::1]",
    b"[]",
    b"[a]",
    b"[1::2::3]",
    b"[::1]a",
    b"[::1]:a",
    b"[::1%25]",
    b"[::1%25a b]",
    b"[v1.a]",
    b"%",
    b"%4",
    b"%zz",
    b'"a"',
    b"<a>",
    b"{a}",
    b"a|b",
    b"a^b",
    b"\xff",
    "bücher.example".encode(),
    b"a" * 254 + b":65536",
    b"a" * 300,
]
HOSTS = [
    b"",
    b":80",
    b"a",
    b"a:",
    b"a:0",
    b"a:65535",
    b"a.example:8080",
    b"A.Example.",
    b"_a.b-c.example",
    b"xn--bcher-kva.example",
    b"127.0.0.1:8080",
    b"[::1]",
    b"[::1]:8080",
    b"[::ffff:192.0.2.1]:80",
    b"[fe80::1%25eth0]:80",
    b"a%20b",
    b"a" * 253 + b":65535",
]


def post_head(project: Project, lines: bytes) -> bytes:
    return (
        b"POST /events HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\n%b\r\n" % (project.key.encode(), lines)
    )


def stored(project: Project) -> int:
    return len(project.client().get("/events?event=smuggled").data)


def assert_refused_once(server: HttpServer, data: bytes, follow_up: bytes) -> None:
    """400, then the close; a request sent behind the malformed one is never parsed."""
    with Connection(server.port) as connection:
        connection.send_all_accepted(data + follow_up)
        answer = connection.answer()
        assert answer.status == 400, answer
        assert answer.headers["connection"] == "close"
        assert answer.code in ("MalformedRequest", "MalformedJson")
        assert connection.closed()


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_framing_is_400_and_close(server: HttpServer, shared: Project, name: str) -> None:
    lines, body = MALFORMED[name]
    follow_up = post_head(shared, b"Content-Length: %b\r\n" % SIZE) + EVENT

    assert_refused_once(server, post_head(shared, lines) + body, follow_up)


@pytest.mark.parametrize("name", MALFORMED_CHUNKS)
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "byte by byte"])
def test_malformed_chunks_are_400_and_close(
    server: HttpServer, shared: Project, name: str, at_once: bool
) -> None:
    head = post_head(shared, b"Transfer-Encoding: chunked\r\n")
    body = MALFORMED_CHUNKS[name]
    with Connection(server.port) as connection:
        connection.send(head + body if at_once else head)
        for byte in b"" if at_once else body:
            connection.send_all_accepted(bytes([byte]))
        if name == "chunk shorter than said":
            connection.half_close()
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert connection.closed()


@pytest.mark.parametrize("name", START)
def test_what_is_no_http_1_1_request_is_400_and_close(server: HttpServer, name: str) -> None:
    with Connection(server.port) as connection:
        connection.send_all_accepted(START[name])
        if name == "no method":
            connection.half_close()
        try:
            answer = connection.answer()
        except ConnectionEndedError:
            # Without a line ending a response may not be possible yet; the close is enough.
            return
        assert answer.status == 400, answer
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("host", NOT_HOSTS)
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("lines", [b"", b"Connection: upgrade\r\nUpgrade: a\r\n"])
def test_an_invalid_host_is_400_and_close(
    server: HttpServer, host: bytes, version: bytes, lines: bytes
) -> None:
    with Connection(server.port) as connection:
        connection.send(b"GET /healthz HTTP/%b\r\nHost: %b\r\n%b\r\n" % (version, host, lines))
        answer = connection.answer()
        assert (answer.status, answer.code) == (400, "MalformedRequest")
        assert connection.closed()


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_may_be_a_name_or_an_address_with_a_port(server: HttpServer, host: bytes) -> None:
    with Connection(server.port) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
        assert connection.answer().status == 200
        if host and not host.startswith(b":"):
            connection.send(b"GET http://%b/healthz HTTP/1.1\r\nHost: a\r\n\r\n" % host)
            assert connection.answer().status == 200


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("name", MALFORMED_CHUNKS)
def test_malformed_chunks_of_a_last_request_are_400_at_once(
    server: HttpServer, shared: Project, name: str, version: bytes
) -> None:
    """An invalid last request gets a response; only bytes after it are ignored."""
    head = post_head(shared, b"Transfer-Encoding: chunked\r\nConnection: close\r\n")
    with Connection(server.port, timeout_s=5) as connection:
        connection.send(head.replace(b"HTTP/1.1", b"HTTP/%b" % version) + MALFORMED_CHUNKS[name])
        if name == "chunk shorter than said":
            connection.half_close()
        answer = connection.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert connection.closed()


def test_nothing_of_all_that_was_stored(shared: Project) -> None:
    assert stored(shared) == 0


@pytest.mark.parametrize("refused_by", ["authorization", "media type", "scope"])
def test_nothing_after_a_rejected_chunked_request_is_read(
    server: HttpServer, project: Project, refused_by: str
) -> None:
    """The response says `close`, so bytes after it in the same segment are ignored."""
    key = b"wrong" if refused_by == "authorization" else project.key.encode()
    kind = b"text/plain" if refused_by == "media type" else b"application/json"
    path = b"/nowhere" if refused_by == "scope" else b"/events"
    refused = (
        b"POST %b HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %b\r\nContent-Type: %b\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%b" % (path, key, kind, CHUNKED)
    )
    following = post_head(project, b"Content-Length: %b\r\n" % SIZE) + EVENT
    with Connection(server.port) as connection:
        connection.send(refused + following)
        first = connection.answer()
        assert first.status in (401, 404, 415)
        if first.headers.get("connection") == "close":
            assert connection.closed()
            assert stored(project) == 0
        else:
            assert connection.answer().status == 202


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_nothing_after_a_last_request_is_read(
    server: HttpServer, project: Project, version: bytes
) -> None:
    event = post_head(project, b"Content-Length: %b\r\nConnection: close\r\n" % SIZE) + EVENT
    keep_alive = event.replace(b"Connection: close", b"Connection: keep-alive")
    first = event if version == b"1.1" else keep_alive.replace(b"HTTP/1.1", b"HTTP/1.0")
    with Connection(server.port) as connection:
        connection.send(first + keep_alive + keep_alive)
        assert connection.answer().headers["connection"] == "close"
        assert connection.closed()
    assert stored(project) == 1


@pytest.mark.parametrize(
    "trailers",
    [
        b"Idempotency-Key: smuggled\r\n",
        b"Authorization: Bearer nobody\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"X-Any: thing\r\n",
    ],
)
def test_trailers_change_nothing(server: HttpServer, project: Project, trailers: bytes) -> None:
    body = CHUNKED[:-2] + trailers + b"\r\n"
    with Connection(server.port) as connection:
        connection.send(post_head(project, b"Transfer-Encoding: chunked\r\n") + body)
        answer = connection.answer()
    if answer.status == 400:
        assert answer.headers["connection"] == "close"
        return
    assert answer.status == 202
    shown = project.client().get(f"/events/{answer.data['id']}").data
    assert shown["idempotency_key"] is None
