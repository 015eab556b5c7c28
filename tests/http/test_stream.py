"""`GET /events/stream`: accepted events, live, to the subscribers of their project."""

from __future__ import annotations

from contextlib import ExitStack

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.pipeline.streams.streams import HOLDER_STREAMS_MAX, PROJECT_STREAMS_MAX, STREAMS_MAX
from headrace.store.store import Store
from tests.support.http_server import ACTOR, HttpServer, Project, wait_until
from tests.support.raw_http import Client, Connection, Response, head_of
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


def test_a_streamed_event_equals_the_one_that_is_read(server: HttpServer, project: Project) -> None:
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


def test_duplicates_and_rejections_are_not_shown(server: HttpServer, project: Project) -> None:
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


def test_closed_streams_make_room_for_others(server: HttpServer, project: Project) -> None:
    """This includes connections that requested something else before, or two streams."""
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
    with ExitStack() as held:
        # The last one from above may still be closing.
        for _ in range(HOLDER_STREAMS_MAX * 3 // 4):
            held.enter_context(Watcher(server.port)).start(project.key)


def open_until_refused(server: HttpServer, key: str, held: ExitStack) -> tuple[int, Response]:
    """Open streams with one key until one is rejected; how many were not, and that response."""
    for count in range(STREAMS_MAX + 1):
        connection = held.enter_context(Connection(server.port))
        connection.send(head_of("GET", "/events/stream", key=key))
        head = connection.head()
        if head.status != 200:
            assert int(head.headers["retry-after"]) >= 1
            return count, head
    raise AssertionError


def test_a_key_that_opens_all_it_can_leaves_room_for_others(
    server: HttpServer, project: Project
) -> None:
    stranger = server.project()
    with ExitStack() as held:
        count, refused = open_until_refused(server, project.key, held)
        assert (count, refused.status) == (HOLDER_STREAMS_MAX, 429)
        with Watcher(server.port) as watcher:
            watcher.start(stranger.key)
            own = stranger.client().send({"event": "a", "external_id": "own"}).data["id"]
            assert watcher.event()["id"] == own
    stranger.close()


def test_projects_that_open_all_they_can_leave_room_for_others(server: HttpServer) -> None:
    """Each new project gets a smaller share, but some, until all places are taken."""
    projects = [server.project() for _ in range(12)]
    keys = make_keys(server, projects)
    newest = projects[-1].client(keys[projects[-1].id][-1])
    assert wait_until(lambda: newest.get("/events").status == 200, 10) < 10
    got: list[int] = []
    status = 429
    with ExitStack() as held:
        for project in projects:
            opened = [open_until_refused(server, key, held) for key in keys[project.id]]
            got.append(sum(count for count, _ in opened))
            status = opened[-1][1].status
            if status == 503:
                break
            assert status == 429
            assert got[-1] >= 1
    assert status == 503
    assert got[0] == PROJECT_STREAMS_MAX
    assert got == sorted(got, reverse=True)
    assert sum(got) <= STREAMS_MAX
    newest.close()


def make_keys(server: HttpServer, projects: list[Project]) -> dict[int, list[str]]:
    """For each project as many keys as it takes to exceed the project's stream limit."""
    count = PROJECT_STREAMS_MAX // HOLDER_STREAMS_MAX + 1
    issued = [
        issue_key(project.id, frozenset(Scope), name="watches", now_us=now_us())
        for project in projects
        for _ in range(count)
    ]

    async def add(store: Store) -> None:
        for each in issued:
            await store.projects.add_key(each.key, actor=ACTOR)

    server.in_store(add)
    texts: dict[int, list[str]] = {}
    for each in issued:
        texts.setdefault(each.key.project_id, []).append(each.text)
    return texts


def test_http_1_0_gets_the_stream_without_chunks(server: HttpServer, project: Project) -> None:
    request = head_of("GET", "/events/stream", key=project.key).replace(b"HTTP/1.1", b"HTTP/1.0")

    def started() -> bool:
        with Connection(server.port) as connection:
            connection.send(request)
            head = connection.head()
            if head.status in (429, 503):
                return False
            assert "transfer-encoding" not in head.headers
            return connection.read_until(b"\n\n").startswith(b"retry: ")

    wait_until(started, 5)


def test_a_stranger_is_rejected(server: HttpServer) -> None:
    client = Client(server.port, None)
    assert client.get("/events/stream").status == 401
    client.close()
