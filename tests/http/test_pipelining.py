"""Many requests on one connection, sent without waiting for responses."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from tests.support.http_server import HttpServer, Project
from tests.support.raw_http import Connection, head_of


def post(project: Project, number: int) -> bytes:
    body = json.dumps({"event": "a", "external_id": f"{number}"}).encode()
    return head_of("POST", "/events", key=project.key, length=len(body)) + body


def get(project: Project, target: str) -> bytes:
    return head_of("GET", target, key=project.key)


def send_all(connection: Connection, pieces: list[bytes]) -> None:
    for piece in pieces:
        connection.send(piece)


def test_responses_come_in_the_order_of_the_requests(server: HttpServer, project: Project) -> None:
    """A commit completes hot routes, a task completes others: neither overtakes the other."""
    requests = []
    for number in range(30):
        requests += [
            post(project, number),
            get(project, "/events?event=a&limit=200"),
            get(project, "/no"),
        ]
        requests.append(head_of("GET", "/healthz"))
        requests.append(head_of("GET", "/events"))
    with Connection(server.port) as connection:
        connection.send(b"".join(requests))
        for number in range(30):
            accepted = connection.answer()
            assert (accepted.status, accepted.data["resolved_identity_value"]) == (202, f"{number}")
            # A list requested after an event runs only after that event's response.
            listed = [event["external_id"] for event in connection.answer().data]
            assert f"{number}" in listed
            assert [connection.answer().status for _ in range(3)] == [404, 200, 401]


@pytest.mark.parametrize("size", [700, 4096, 65_536, 10_000_000])
def test_five_hundred_requests_at_once(server: HttpServer, project: Project, size: int) -> None:
    """This holds for any segmentation: a read may end in the middle of a request."""
    data = b"".join(post(project, number) for number in range(500))
    with Connection(server.port) as connection:
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        writer = threading.Thread(target=send_all, args=(connection, pieces))
        writer.start()
        values = [connection.answer().data["resolved_identity_value"] for _ in range(500)]
        writer.join()
    assert values == [str(number) for number in range(500)]


def test_a_thousand_pipelined_slow_requests_run_one_at_a_time(
    server: HttpServer, project: Project
) -> None:
    data = get(project, "/events") * 1000
    with Connection(server.port) as connection:
        connection.send(data)
        for _ in range(1000):
            assert connection.answer().status == 200


def test_a_part_of_the_next_request_may_come_with_the_last_one(
    server: HttpServer, project: Project
) -> None:
    data = post(project, 0) + post(project, 1)
    for cut in range(1, len(data), 7):
        with Connection(server.port) as connection:
            connection.send(data[:cut])
            connection.send(data[cut:])
            assert [connection.answer().status for _ in range(2)] == [202, 202]


def test_a_broken_request_does_not_affect_those_before_it(
    server: HttpServer, project: Project
) -> None:
    broken = b"POST /events HTTP/1.1\r\nContent-Length: x\r\n\r\n"
    with Connection(server.port) as connection:
        connection.send(post(project, 1) + get(project, "/events") + broken + post(project, 2))
        assert [connection.answer().status for _ in range(3)] == [202, 200, 400]
        assert connection.closed()
    assert len(project.client().get("/events?event=a").data) == 1


def test_a_client_that_half_closes_still_gets_its_responses(
    server: HttpServer, project: Project
) -> None:
    with Connection(server.port) as connection:
        connection.send(post(project, 1) + get(project, "/events") + post(project, 2))
        connection.half_close()
        assert [connection.answer().status for _ in range(3)] == [202, 200, 202]
        assert connection.closed()


def test_a_client_that_leaves_before_the_response_affects_no_other(
    server: HttpServer, project: Project
) -> None:
    for _ in range(50):
        with Connection(server.port) as gone:
            gone.socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )
            gone.send((post(project, 1) + get(project, "/events")) * 3)
        assert project.client().send({"event": "b", "external_id": "x"}).status == 202


def test_a_client_that_never_reads_is_not_read_from_either(
    server: HttpServer, project: Project
) -> None:
    """Its unread responses must not accumulate: the sockets' buffers limit what it sends."""
    before = server.resident_bytes()
    request = get(project, "/openapi.json")
    with Connection(server.port, timeout_s=0.5) as connection:
        with pytest.raises(TimeoutError):
            # More than all socket buffers between the two can hold.
            connection.send(request * 1_000_000)
        assert project.client().get("/healthz").status == 200
        assert server.resident_bytes() - before < 16 * 1024 * 1024
