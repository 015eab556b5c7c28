"""Route options beyond method, path and key: tested with real requests on a small table."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.http.application import build_application
from headrace.http.openapi import openapi_document
from headrace.http.routing.asgi import AsgiRunner
from headrace.http.routing.context import json_response
from headrace.http.routing.match import RouteTable
from headrace.http.routing.media import read_body
from headrace.http.routing.route import (
    ANY,
    PUBLIC,
    Access,
    Body,
    Cors,
    Limits,
    Route,
    Who,
    get,
    has_header,
    json_body,
    key,
    media_is,
    ok,
    post,
    whole,
)
from headrace.http.routing.router import Router, RouterDeps
from headrace.http.routing.services import IngestServices
from headrace.http.server.credentials import BASIC, BEARER, InBody, InHeader, InPath
from headrace.http.server.listener import HttpServer
from headrace.http.server.rejection_recorder import RejectionRecorder
from headrace.pipeline.access.keys import AccessCache, Principal
from headrace.pipeline.access.operators import OperatorCache
from headrace.pipeline.intake.accept import Acceptor
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.pipeline.intake.rejections import RejectionLog
from headrace.stores import open_store
from tests.support.raw_http import Client, Connection, head_of
from tests.support.raw_http import Response as RawResponse

SHOP, OTHER = "https://shop.example", "https://other.example"
ANY_BODY = (Body(media=ANY, schema={"type": "object"}),)
OBJECT = {"type": "object"}
RESPONSES = (ok("What was understood.", OBJECT),)
#: Like the write key of a client that sends it as `<id>:<secret>`.
WRITE_KEY = InHeader("X-Write-Key", joint=":", prefix="hr_")
BROWSER = Cors(headers=("authorization", "content-type"))


@dataclass
class App:
    """A caller without a key."""

    name: str


@dataclass
class Small:
    """The running server and the events that its routes wait for."""

    port: int = 0
    key: str = ""
    reader: str = ""
    log: RejectionLog | None = None
    loop: asyncio.AbstractEventLoop = field(default_factory=uvloop.new_event_loop)
    #: Set when a request is in progress, and what completes it.
    arrived: threading.Event = field(default_factory=threading.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)


def said(name: str, **more: Any) -> Any:
    """A handler that responds with its name, its caller and its input."""

    async def handler(request: Request) -> Response:
        state = request.scope["state"]
        principal = state["principal"]
        who = (
            principal.key_id
            if isinstance(principal, Principal)
            else getattr(principal, "name", None)
        )
        body = (await read_body(request)).decode() if request.method == "POST" else ""
        return json_response({"data": {"route": name, "who": who, "body": body, **more}})

    return handler


class ShopOrigins:
    """The shop's origin may use every key; the other origin may use none."""

    def allows(self, principal: Any, origin: str) -> bool:
        return principal is not None and origin == SHOP

    def any_allows(self, origin: str) -> bool:
        return origin in (SHOP, OTHER)


def table(small: Small) -> RouteTable:
    async def slow(request: Request) -> Response:
        del request
        small.arrived.set()
        await small.go_on.wait()
        return json_response({"data": {}})

    async def stream(request: Request) -> Response:
        del request

        async def parts() -> AsyncIterator[bytes]:
            yield b"first\n"
            small.arrived.set()
            await small.go_on.wait()
            yield b"last\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    ingest = key(Scope.INGEST)
    anywhere = key(Scope.INGEST, BEARER, BASIC, WRITE_KEY, InBody(("writeKey", "api_key")))
    routes = (
        _post(
            "/things",
            "structured",
            ingest,
            when=media_is("application/x-thing+json"),
            bodies=(Body(media="application/x-thing+json", schema=OBJECT),),
        ),
        _post("/things", "binary", ingest, when=has_header("Thing-Version"), bodies=ANY_BODY),
        _post("/things", "native", ingest, bodies=json_body(OBJECT)),
        _post(
            "/track",
            "app",
            Access(who=Who.APP, credentials=(InBody(("app_id",)),)),
            when_body=lambda text: b'"event_type"' in text,
            bodies=ANY_BODY,
            cors=BROWSER,
            limits=Limits(body_bytes_max=200),
        ),
        _post(
            "/track",
            "events",
            anywhere,
            bodies=ANY_BODY,
            cors=BROWSER,
            limits=Limits(body_bytes_max=1000, unpacked_bytes_max=2000),
        ),
        _post("/e/{key}", "in the path", key(Scope.INGEST, InPath("key")), bodies=ANY_BODY),
        get(
            "/seldom",
            said("seldom"),
            PUBLIC,
            name="seldom",
            summary="Seldom",
            responses=RESPONSES,
            limits=Limits(per_second_max=1),
        ),
        get(
            "/slow",
            slow,
            PUBLIC,
            name="slow",
            summary="Slow",
            responses=RESPONSES,
            limits=Limits(concurrent_max=1),
        ),
        get(
            "/stream",
            stream,
            PUBLIC,
            name="stream",
            summary="Parts",
            responses=(
                whole("Parts.", {"type": "string"}, media="text/event-stream", is_stream=True),
            ),
        ),
    )
    return RouteTable(routes)


def _post(path: str, name: str, access: Access, **more: Any) -> Route:
    return post(path, said(name), access, name=name, summary=name, responses=RESPONSES, **more)


async def _serve(
    small: Small, directory: Path, started: threading.Event, end: asyncio.Event
) -> None:
    store = await open_store(f"sqlite:///{directory / 'small.db'}", serve=True)
    project = await store.projects.create("small", now_us(), actor="test")
    for name, scope in (("key", Scope.INGEST), ("reader", Scope.READ)):
        issued = issue_key(project.id, frozenset({scope}), name=name, now_us=now_us())
        await store.projects.add_key(issued.key, actor="test")
        setattr(small, name, issued.text)
    access = AccessCache(store.projects, store.clock_us)
    await access.refresh()
    queue = CommitQueue(small.loop, store.wake, store.committers)
    small.log = RejectionLog(store.rejections, store.clock_us)
    recorder = RejectionRecorder(small.log, store.clock_us)
    acceptor = Acceptor(queue, await store.event_ids())
    router = Router(
        RouterDeps(
            table=table(small),
            access=access,
            operators=OperatorCache(store.operators),
            services=IngestServices(acceptor, recorder, store.clock_us, store.events.first_copies),
            runner=AsgiRunner(build_application(recorder), {}),
            origins=ShopOrigins(),
            app_of=lambda text: App("shop app") if text == b"app_1" else None,
        )
    )
    server = HttpServer(router)
    small.port = await server.start("127.0.0.1", 0)
    started.set()
    await end.wait()
    server.stop_listening()
    await server.wait_closed(5)
    await store.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    small, started, end = Small(), threading.Event(), asyncio.Event()
    directory = tmp_path_factory.mktemp("small")

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: small.loop) as runner:
            runner.run(_serve(small, directory, started, end))

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(30)
    yield small
    small.loop.call_soon_threadsafe(end.set)
    thread.join(30)
    assert not thread.is_alive()


def ask(
    small: Small,
    target: str,
    body: Any = None,
    *,
    method: str = "POST",
    media: str = "application/json",
    **headers: str,
) -> RawResponse:
    client = Client(small.port, None)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    answer = client.request(method, target, body=data, body_type=media, headers=named)
    client.close()
    return answer


def bearer(small: Small) -> dict[str, str]:
    return {"Authorization": f"Bearer {small.key}"}


# --- dispatch ---


@pytest.mark.parametrize(
    ("media", "headers", "route"),
    [
        ("application/x-thing+json", {}, "structured"),
        ("application/x-thing+json; charset=utf-8", {}, "structured"),
        ("application/json", {"Thing_Version": "1.0"}, "binary"),
        ("text/plain", {"thing_version": "1.0"}, "binary"),
        ("application/json", {}, "native"),
    ],
)
def test_the_media_type_or_a_header_chooses_among_routes_of_a_path(
    small: Small, media: str, headers: Mapping[str, str], route: str
) -> None:
    answer = ask(small, "/things", {}, media=media, **bearer(small), **headers)
    assert answer.data["route"] == route


def test_a_media_type_of_no_route_is_rejected_with_the_body_unread(small: Small) -> None:
    with Connection(small.port) as connection:
        connection.send(
            head_of("POST", "/things", key=small.key, length=500_000, body_type="text/plain")
        )
        assert connection.answer().status == 415


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_the_body_chooses_among_routes_of_a_path(small: Small, encoding: str) -> None:
    def packed(value: Any) -> bytes:
        text = json.dumps(value).encode()
        return text if encoding == "identity" else _gzip(text)

    app = packed({"app_id": "app_1", "event_type": "open"})
    event = packed({"type": "track", "writeKey": small.key})
    more = {"Content_Encoding": encoding}

    assert ask(small, "/track", app, **more).data["route"] == "app"
    assert ask(small, "/track", app, **more).data["who"] == "shop app"
    found = ask(small, "/track", event, **more).data
    assert found["route"] == "events"
    assert json.loads(found["body"])["type"] == "track"


def _gzip(text: bytes) -> bytes:
    return gzip.compress(text)


# --- credentials ---


def _basic(user: str, password: str) -> dict[str, str]:
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}


def test_a_key_is_read_from_every_place_the_route_declares(small: Small) -> None:
    body = {"type": "track"}
    spelled = small.key.removeprefix("hr_").replace("_", ":")
    ways: list[dict[str, str]] = [
        bearer(small),
        _basic(small.key, ""),
        _basic("site", small.key),
        {"X_Write_Key": spelled},
        {"X_Write_Key": small.key},
    ]
    who = small.key.split("_")[1]
    for way in ways:
        assert ask(small, "/track", body, **way).data["who"] == who
    for name in ("writeKey", "api_key"):
        assert ask(small, "/track", body | {name: small.key}).data["who"] == who
    assert ask(small, f"/e/{small.key}", body).data["who"] == who


def test_the_first_place_with_a_credential_decides(small: Small) -> None:
    """A client that masks its key in the body sends the real one in a header."""
    masked = {"writeKey": "***"}
    assert ask(small, "/track", masked, **bearer(small)).status == 200
    wrong = f"Bearer hr_{'0' * 16}_{'0' * 64}"
    assert ask(small, "/track", {"writeKey": small.key}, Authorization=wrong).status == 401


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({}, {}),
        ({"writeKey": 7}, {}),
        ({"writeKey": "x"}, {}),
        ({"writeKey": "\ud800"}, {}),
        ({"app_id": "app_2", "event_type": "open"}, {}),
        ({}, {"Authorization": "Basic"}),
        ({}, {"Authorization": "Basic !"}),
        ({}, {"X_Write_Key": "a:b"}),
    ],
)
def test_what_is_no_credential_is_401(small: Small, body: Any, headers: dict[str, str]) -> None:
    answer = ask(small, "/track", body, **headers)
    assert (answer.status, answer.code) == (401, "Unauthorized")


def test_401_names_the_authentication_schemes(small: Small) -> None:
    assert ask(small, "/track", {}).headers["www-authenticate"] == "Bearer, Basic"
    assert ask(small, "/things", {}).headers["www-authenticate"] == "Bearer"


def test_a_body_that_should_hold_the_key_has_to_be_json(small: Small) -> None:
    answer = ask(small, "/track", b"{")
    assert (answer.status, answer.code) == (400, "MalformedJson")


def test_a_key_without_the_scope_is_403_in_body_and_path(small: Small) -> None:
    assert ask(small, "/track", {"writeKey": small.reader}).status == 403
    assert ask(small, f"/e/{small.reader}", {}).status == 403


def test_a_key_in_the_path_is_not_kept_with_a_rejection(small: Small) -> None:
    assert small.log is not None
    ask(small, f"/e/{small.reader}", {})
    noted = [rejection.route for rejection in small.log._waiting]
    assert "POST /e/{key}" in noted
    assert not any("hr_" in route for route in noted)


# --- cross-origin requests ---


def cors_of(response: RawResponse) -> str | None:
    return response.headers.get("access-control-allow-origin")


def test_a_preflight_succeeds_for_every_origin_that_some_key_allows(small: Small) -> None:
    for origin in (SHOP, OTHER):
        answer = ask(
            small,
            "/track",
            method="OPTIONS",
            Origin=origin,
            Access_Control_Request_Method="POST",
        )
        assert (answer.status, answer.body, cors_of(answer)) == (204, b"", origin)
        assert "content-length" not in answer.headers
        assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
        assert answer.headers["access-control-allow-methods"] == "POST, GET"
        assert answer.headers["access-control-max-age"] == "86400"
        assert answer.headers["vary"] == "Origin"
    refused = ask(small, "/track", method="OPTIONS", Origin="https://evil.example")
    assert (refused.status, cors_of(refused)) == (403, None)


def test_a_path_without_cors_reveals_nothing_to_a_stranger(small: Small) -> None:
    answer = ask(small, "/things", method="OPTIONS", Origin=SHOP)
    assert (answer.status, cors_of(answer)) == (401, None)


def test_a_page_may_read_responses_and_rejections_if_the_key_allows_its_origin(
    small: Small,
) -> None:
    good = ask(small, "/track", {}, Origin=SHOP, **bearer(small))
    assert (good.status, cors_of(good)) == (200, SHOP)
    for body in ({}, {"writeKey": "x"}, b"{", b"x" * 2000):
        answer = ask(small, "/track", body, Origin=SHOP)
        assert answer.status in (400, 401, 413)
        assert cors_of(answer) == SHOP
        assert answer.headers["vary"] == "Origin"
    refused = ask(small, "/track", {}, Origin=OTHER, **bearer(small))
    assert (refused.status, refused.code, cors_of(refused)) == (403, "Forbidden", None)
    from_body = ask(small, "/track", {"writeKey": small.key}, Origin=OTHER)
    assert (from_body.status, cors_of(from_body)) == (403, None)


def test_requests_of_no_page_get_no_cors_headers(small: Small) -> None:
    answer = ask(small, "/track", {}, **bearer(small))
    assert cors_of(answer) is None
    assert "vary" not in answer.headers


# --- limits ---


def test_a_route_has_its_own_limits_of_size(small: Small) -> None:
    """The wire size is limited before the body is read, the rest once the route is known."""
    assert ask(small, "/track", b"x" * 1001, **bearer(small)).status == 413
    app = {"app_id": "app_1", "event_type": "x" * 150}
    assert ask(small, "/track", app).status == 200
    assert ask(small, "/track", app | {"more": "x" * 50}).status == 413
    for size, status in ((1900, 200), (2100, 413)):
        packed = _gzip(b'{"a":"' + b"x" * size + b'"}')
        answer = ask(small, "/track", packed, Content_Encoding="gzip", **bearer(small))
        assert answer.status == status


def test_a_route_has_its_own_rate_by_caller(small: Small) -> None:
    answers = [ask(small, "/seldom", method="GET") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


def test_a_route_has_its_own_limit_of_requests_at_once(small: Small) -> None:
    small.arrived.clear()
    with Connection(small.port) as waiting:
        waiting.send(head_of("GET", "/slow"))
        assert small.arrived.wait(10)
        refused = ask(small, "/slow", method="GET")
        assert (refused.status, refused.code) == (503, "Overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        small.loop.call_soon_threadsafe(small.go_on.set)
        assert waiting.answer().status == 200
    assert ask(small, "/slow", method="GET").status == 200
    small.loop.call_soon_threadsafe(small.go_on.clear)


def test_a_response_may_come_in_parts(small: Small) -> None:
    small.arrived.clear()
    with Connection(small.port) as connection:
        connection.send(head_of("GET", "/stream"))
        assert connection.head().headers["transfer-encoding"] == "chunked"
        assert b"first" in connection.read_until(b"first\n\r\n")
        assert small.arrived.wait(10)
        small.loop.call_soon_threadsafe(small.go_on.set)
        assert b"last" in connection.read_until(b"last\n\r\n")
        assert connection.read_until(b"0\r\n\r\n")
    small.loop.call_soon_threadsafe(small.go_on.clear)


# --- the table ---


def test_the_document_joins_the_routes_of_a_path(small: Small) -> None:
    document = openapi_document(table(small).routes, {})
    things = document["paths"]["/things"]["post"]
    assert list(things["requestBody"]["content"]) == [
        "application/x-thing+json",
        ANY,
        "application/json",
    ]
    track = document["paths"]["/track"]["post"]
    assert track["security"] == [{"key": []}, {"basic": []}, {}]
    assert "403" in track["responses"]
    assert "429" in document["paths"]["/seldom"]["get"]["responses"]


def test_a_route_that_could_never_be_reached_is_rejected() -> None:
    once = get("/a", said("a"), PUBLIC, name="a", summary="a")
    with pytest.raises(ValueError, match="occurs twice"):
        RouteTable((once, once))


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (b"/a/b", "/a/b"),
        (b"/a/c", "/a/{id}"),
        (b"/a/c/d", "/a/{id}/d"),
        (b"/a/b/d", "/a/b/{rest:path}"),
        (b"/a/b/e/f", "/a/b/{rest:path}"),
        (b"/%61/%62", "/a/b"),
        (b"/a%2Fb", "/a/b"),
        (b"/a/%2F", None),
        (b"/a/", None),
        (b"//a/b", None),
        (b"/a/\xff", "/a/{id}"),
        (b"/%2561/b", None),
    ],
)
def test_fixed_parts_are_found_before_parameters(path: bytes, found: str | None) -> None:
    paths = ("/a/{id}/d", "/a/b/{rest:path}", "/a/{id}", "/a/b")
    routes = RouteTable(get(each, said("x"), PUBLIC, name=each, summary="x") for each in paths)
    resource, _ = routes.find(path)
    assert (None if resource is None else resource.path) == found
