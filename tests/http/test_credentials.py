"""Authentication: keys, scopes, revocation, expiry, and what unauthenticated callers learn."""

from __future__ import annotations

import statistics
import time

import pytest

from headrace.domain.access.api_keys import Scope, allows
from headrace.domain.timestamps import now_us
from tests.support.http_server import ACTOR, HttpServer, Project, wait_until
from tests.support.raw_http import Client, Connection, head_of

EVENT = '{"event":"a","external_id":"x"}'
WRONG_SECRET = "0" * 64

ROUTES = {
    ("POST", "/events"): Scope.INGEST,
    ("POST", "/events/batch"): Scope.INGEST,
    ("POST", "/events/validate"): Scope.INGEST,
    ("GET", "/events"): Scope.READ,
    ("HEAD", "/events"): Scope.READ,
    ("GET", "/events/01977f5e-0000-7000-8000-000000000000"): Scope.READ,
    ("GET", "/events/by-idempotency-key/k"): Scope.READ,
    ("GET", "/rejections"): Scope.READ,
}


def tokens(project: Project) -> dict[str, bytes | None]:
    public_id = project.key.split("_")[1]
    secret = project.key.split("_")[2]
    return {
        "none": None,
        "empty": b"",
        "only the scheme": b"Bearer",
        "scheme and a blank": b"Bearer ",
        "no scheme": project.key.encode(),
        "Basic": b"Basic aHI6eA==",
        "Basic of the key": b"Basic " + project.key.encode(),
        "Digest": b"Digest username=x",
        "unknown id": f"Bearer hr_{'0' * 16}_{secret}".encode(),
        "wrong secret": f"Bearer hr_{public_id}_{WRONG_SECRET}".encode(),
        "upper-case secret": f"Bearer hr_{public_id}_{secret.upper()}".encode(),
        "secret cut": project.key[:-1].join(["Bearer ", ""]).encode(),
        "secret and more": f"Bearer {project.key}0".encode(),
        "key and a blank inside": f"Bearer {project.key[:30]} {project.key[30:]}".encode(),
        "two keys": f"Bearer {project.key} {project.key}".encode(),
        "two keys by comma": f"Bearer {project.key}, Bearer {project.key}".encode(),
        "in quotes": f'Bearer "{project.key}"'.encode(),
        "two blanks": f"Bearer  {project.key}".encode(),
        "byte 0xFF": b"Bearer hr_\xff",
        "byte 0xFF in the secret": f"Bearer {project.key[:-1]}".encode() + b"\xff",
        "byte 0xFF in the id": b"Bearer hr_\xff" + project.key[4:].encode(),
        "UTF-8": f"Bearer {project.key[:-2]}é".encode(),
        "other prefix": f"Bearer sk_{public_id}_{secret}".encode(),
        "hash for a secret": b"Bearer hr_" + public_id.encode() + b"_" + b"\x80" * 64,
        "8 KiB": b"Bearer " + b"a" * 8000,
        "%s": b"Bearer hr_%s_%s",
        "sql": b"Bearer hr_' OR '1'='1_x",
    }


NAMES = list(tokens(Project(0, 0, "hr_" + "1" * 16 + "_" + "a" * 64)))


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_no_valid_key_is_401_with_the_body_unread(
    server: HttpServer, shared: Project, name: str
) -> None:
    token = tokens(shared)[name]
    line = b"" if token is None else b"Authorization: %b\r\n" % token
    with Connection(server.port) as connection:
        # The response arrives although none of the body is sent.
        connection.send(
            b"POST /events HTTP/1.1\r\nHost: a\r\n%bContent-Length: 500000\r\n\r\n" % line
        )
        answer = connection.answer()
    assert (answer.status, answer.code) == (401, "Unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"])
@pytest.mark.parametrize(
    "target", ["/events", "/nowhere", "/rejections", "/events/x", "/%65vents", "/%68ealth"]
)
def test_a_stranger_does_not_learn_what_exists(
    server: HttpServer, method: str, target: str
) -> None:
    with Connection(server.port) as connection:
        connection.send(head_of(method, target))
        assert connection.answer().status == 401


def test_a_token_with_nul_is_malformed(server: HttpServer, shared: Project) -> None:
    with Connection(server.port) as connection:
        key = shared.key.encode()[:-1] + b"\x00"
        connection.send(
            b"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n\r\n" % key
        )
        assert connection.answer().status == 400
        assert connection.closed()


def test_two_authorization_headers_are_400(server: HttpServer, shared: Project) -> None:
    line = b"Authorization: Bearer %b\r\n" % shared.key.encode()
    with Connection(server.port) as connection:
        connection.send(b"GET /events HTTP/1.1\r\nHost: a\r\n" + line + line + b"\r\n")
        assert connection.answer().status == 400
        assert connection.closed()


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_scheme_is_known_in_any_case(server: HttpServer, shared: Project, scheme: str) -> None:
    head = head_of("GET", "/events", headers={"Authorization": f"{scheme} {shared.key}"})
    with Connection(server.port) as connection:
        connection.send(head)
        assert connection.answer().status == 200


def test_a_key_in_the_query_is_no_key(server: HttpServer, shared: Project) -> None:
    client = Client(server.port, None)
    for name in ("key", "api_key", "access_token", "authorization"):
        assert client.get(f"/events?{name}={shared.key}").status == 401
    client.close()


def test_wrong_secrets_take_as_long_as_unknown_ids(server: HttpServer, shared: Project) -> None:
    """Thousands of attempts do no harm, and median times do not distinguish the two cases."""
    public_id = shared.key.split("_")[1]
    clients = [
        Client(server.port, f"hr_{public_id}_{WRONG_SECRET}"),
        Client(server.port, f"hr_{'f' * 16}_{WRONG_SECRET}"),
    ]
    times: list[list[float]] = [[], []]
    for _ in range(1500):
        for client, seconds in zip(clients, times, strict=True):
            began = time.perf_counter()
            assert client.get("/events").status == 401
            seconds.append(time.perf_counter() - began)
    for client in clients:
        client.close()
    wrong, unknown = (statistics.median(seconds) for seconds in times)
    assert abs(wrong - unknown) < 0.5 * max(wrong, unknown)
    assert shared.client().get("/events").status == 200


def test_scopes_decide_over_every_route(server: HttpServer, project: Project) -> None:
    clients = {scope: project.client(server.issue_key(project, [scope])) for scope in Scope}
    wait_until(lambda: clients[Scope.MANAGE].get("/events").status == 403, 5)
    for (method, target), needed in ROUTES.items():
        for scope, client in clients.items():
            body = EVENT.encode() if method == "POST" else None
            status = client.request(method, target, body=body).status
            assert (status != 403) == allows(frozenset({scope}), needed), (method, target, scope)
            assert status in (200, 202, 403, 404, 422)


def test_a_missing_scope_is_403_with_the_body_unread(server: HttpServer, project: Project) -> None:
    reader = server.issue_key(project, [Scope.READ])
    client = project.client(reader)
    wait_until(lambda: client.get("/events").status == 200, 5)
    with Connection(server.port) as connection:
        connection.send(head_of("POST", "/events", key=reader, length=500_000))
        answer = connection.answer()
    assert (answer.status, answer.code) == (403, "Forbidden")
    assert "ingest" in answer.json()["error"]["message"]


def test_a_revoked_key_stops_working_within_five_seconds(
    server: HttpServer, project: Project
) -> None:
    key = server.issue_key(project)
    client = project.client(key)
    wait_until(lambda: client.get("/events").status == 200, 5)
    server.in_store(
        lambda store: store.projects.revoke_key(key.split("_")[1], now_us(), actor=ACTOR)
    )

    assert wait_until(lambda: client.get("/events").status == 401, 5) < 5
    assert client.post("/events", EVENT).status == 401
    # The key it overlapped with stays valid.
    assert project.client().get("/events").status == 200


def test_a_key_stops_working_when_it_expires(server: HttpServer, project: Project) -> None:
    client = project.client(server.issue_key(project, expires_us=now_us() + 2_500_000))
    gone = project.client(server.issue_key(project, expires_us=now_us() - 1))
    wait_until(lambda: client.get("/events").status == 200, 2.4)
    assert gone.get("/events").status == 401

    wait_until(lambda: client.get("/events").status == 401, 5)


def test_a_rate_limit_takes_effect_within_five_seconds(
    server: HttpServer, project: Project
) -> None:
    client = project.client()
    server.set_policy(project, "event_ingest_limit_per_second", 1)

    assert wait_until(lambda: client.post("/events", EVENT).status == 429, 5) < 5
    answer = client.post("/events", EVENT)
    assert (answer.status, answer.code) == (429, "RateLimited")
    assert int(answer.headers["retry-after"]) >= 1
    batch = client.post("/events/batch", '{"events":[' + EVENT + "]}")
    assert (batch.status, batch.code) == (429, "RateLimited")
    assert int(batch.headers["retry-after"]) >= 1
    # Reads and other projects are unaffected.
    assert client.get("/events").status == 200
    other = server.project()
    assert other.client().post("/events", EVENT).status == 202
    other.close()
    server.set_policy(project, "event_ingest_limit_per_second", None)
    assert wait_until(lambda: client.post("/events", EVENT).status == 202, 5) < 5


def test_a_payload_limit_takes_effect_within_five_seconds(
    server: HttpServer, project: Project
) -> None:
    client = project.client()
    large = {"event": "a", "external_id": "x", "payload": {"a": "x" * 300}}
    assert client.send(large).status == 202
    server.set_policy(project, "event_payload_limit_bytes", 256)

    assert wait_until(lambda: client.send(large).status == 413, 5) < 5
    assert client.send({**large, "payload": {"a": "x" * 247}}).status == 202
