"""`GET /events/stream`: accepted events, live, to the watchers of their project."""

from __future__ import annotations

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Connection, head_of
from tests.support.stream import Watcher


def test_every_watcher_of_the_project_sees_each_event_in_order(
    server: HttpServer, project: Project
) -> None:
    watchers = [Watcher(server.port) for _ in range(3)]
    for watcher in watchers:
        watcher.start(project.key)
    client = project.client()
    ids = [client.send({"event": "a", "external_id": f"{n}"}).data["id"] for n in range(20)]

    for watcher in watchers:
        assert [watcher.event()["id"] for _ in ids] == ids
        watcher.close()


def test_an_event_looks_as_it_does_when_read(server: HttpServer, project: Project) -> None:
    payload = '{ "a" : 1.0,\r\n\n "b":"x\\ny" }'
    with Watcher(server.port) as watcher:
        watcher.start(project.key)
        sent = f'{{"event":"a","email":"Mike@x.org","payload":{payload}}}'
        event_id = project.client().post("/events", sent).data["id"]
        seen = watcher.event()
    read = project.client().get(f"/events/{event_id}").data
    for changing in ("status", "attempts", "contact_id"):
        seen.pop(changing)
        read.pop(changing)
    assert seen == read


def test_duplicates_and_refusals_are_not_shown(server: HttpServer, project: Project) -> None:
    client = project.client()
    with Watcher(server.port) as watcher:
        watcher.start(project.key)
        sent = {"event": "a", "external_id": "x", "idempotency_key": "k"}
        ids = [client.send(sent).data["id"], client.send(sent).data["id"]]
        client.send({"event": "Bad", "external_id": "x"})
        last = client.send({"event": "a", "external_id": "last"}).data["id"]
        assert [watcher.event()["id"], watcher.event()["id"]] == [ids[0], last]


def test_projects_do_not_see_one_another(server: HttpServer, project: Project) -> None:
    stranger = server.project()
    with Watcher(server.port) as watcher:
        watcher.start(stranger.key)
        for number in range(5):
            project.client().send({"event": "a", "external_id": f"{number}"})
        own = stranger.client().send({"event": "a", "external_id": "own"}).data["id"]
        assert watcher.event()["id"] == own
    stranger.close()


def test_watchers_that_leave_make_room_for_others(server: HttpServer, project: Project) -> None:
    """Also those that asked for something else on the same connection, or for two streams."""
    stream = head_of("GET", "/events/stream", key=project.key)
    listed = head_of("GET", "/events", key=project.key)
    for round_of_requests in (stream, listed + stream, stream + stream, stream + listed) * 60:
        with Connection(server.port) as connection:
            connection.send(round_of_requests)
            connection.read_until(b"HTTP/1.1 200")

    def served() -> bool:
        with Connection(server.port) as connection:
            connection.send(stream)
            return connection.head().status == 200

    assert wait_until(served, 10) < 10
    held = []
    for _ in range(150):
        watcher = Watcher(server.port)
        watcher.start(project.key)
        held.append(watcher)
    for watcher in held:
        watcher.close()


def test_more_watchers_than_the_process_takes_are_told_to_come_back(
    server: HttpServer, project: Project
) -> None:
    stream = head_of("GET", "/events/stream", key=project.key)
    held = []
    refused = None
    for _ in range(201):
        connection = Connection(server.port)
        held.append(connection)
        connection.send(stream)
        answer = connection.head()
        if answer.status == 503:
            refused = answer
            break
    for connection in held:
        connection.close()
    assert refused is not None
    assert int(refused.headers["retry-after"]) >= 1


def test_http_1_0_gets_the_stream_without_chunks(server: HttpServer, project: Project) -> None:
    request = head_of("GET", "/events/stream", key=project.key).replace(b"HTTP/1.1", b"HTTP/1.0")

    def started() -> bool:
        with Connection(server.port) as connection:
            connection.send(request)
            head = connection.head()
            if head.status == 503:
                return False
            assert "transfer-encoding" not in head.headers
            return connection.read_until(b"\n\n").startswith(b"retry: ")

    wait_until(started, 5)


def test_a_stranger_is_refused(server: HttpServer) -> None:
    client = Client(server.port, None)
    assert client.get("/events/stream").status == 401
    client.close()
