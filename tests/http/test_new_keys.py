"""A key works as soon as it is created, and requests with unknown keys cost little.

On a server of its own: look-ups in the store are rate-limited by address.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope
from headrace.domain.access.operators import issue_token
from headrace.domain.timestamps import now_us
from headrace.pipeline.access.look_up import LookUps
from tests.support.http_server import ACTOR, HttpServer, Project, wait_until
from tests.support.raw_http import Client, Connection, head_of

EVENT = b'{"event":"a","external_id":"x"}'
LARGE = b'{"event":"a","external_id":"x","payload":{"a":"' + b"x" * 60_000 + b'"}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    server = HttpServer(tmp_path_factory.mktemp("new-keys"))
    server.start(3)
    yield server
    assert server.stop() == 0
    assert "request.failed" not in server.log_text()


@pytest.fixture(scope="module")
def project(server: HttpServer) -> Iterator[Project]:
    project = server.project()
    yield project
    project.close()


AsKey = Callable[[str | None], Client]


@pytest.fixture
def as_key(server: HttpServer) -> Iterator[AsKey]:
    """Creates a client with its own key."""
    made: list[Client] = []

    def make(key: str | None) -> Client:
        made.append(Client(server.port, key))
        return made[-1]

    yield make
    for client in made:
        client.close()


def post(key: str, body: bytes = EVENT, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return head_of("POST", "/events", key=key, length=len(body), headers=named)


def test_a_key_works_at_once(server: HttpServer, project: Project, as_key: AsKey) -> None:
    for method, target, body in (("POST", "/events", EVENT), ("GET", "/events", None)):
        client = as_key(server.issue_key(project))
        assert client.request(method, target, body=body).status in (200, 202)


def test_the_body_may_come_before_and_after_the_decision(
    server: HttpServer, project: Project
) -> None:
    with Connection(server.port) as connection:
        connection.send(post(server.issue_key(project), LARGE) + LARGE[:100])
        connection.send(LARGE[100:])
        assert connection.answer().status == 202
        # The connection continues as if nothing had waited.
        connection.send(post(project.key) + EVENT)
        assert connection.answer().status == 202


def test_a_client_that_expects_100_continue_gets_it(server: HttpServer, project: Project) -> None:
    with Connection(server.port) as connection:
        connection.send(post(server.issue_key(project), Expect="100-continue"))
        assert connection.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        connection.send(EVENT)
        assert connection.answer().status == 202


def test_requests_behind_it_keep_their_order(server: HttpServer, project: Project) -> None:
    key = server.issue_key(project)
    with Connection(server.port) as connection:
        bodies = [
            json.dumps({"event": f"e{number}", "external_id": "x"}).encode() for number in range(9)
        ]
        keys = [project.key, key, project.key] * 3
        connection.send(
            b"".join(post(each, body) + body for each, body in zip(keys, bodies, strict=True))
        )
        answers = [connection.answer() for _ in bodies]
    assert [answer.data["event"] for answer in answers] == [f"e{number}" for number in range(9)]


def test_a_new_key_without_the_scope_is_403_with_the_body_unread(
    server: HttpServer, project: Project
) -> None:
    reader = server.issue_key(project, [Scope.READ])
    with Connection(server.port) as connection:
        connection.send(head_of("POST", "/events", key=reader, length=500_000))
        assert connection.answer().status == 403


def test_a_key_that_does_not_exist_is_401_with_the_body_unread(server: HttpServer) -> None:
    with Connection(server.port) as connection:
        connection.send(head_of("POST", "/events", key=f"hr_{'a' * 16}_{'0' * 64}", length=500_000))
        answer = connection.answer()
        assert (answer.status, answer.code) == (401, "Unauthorized")
        assert connection.closed()


def test_what_is_too_large_for_the_route_is_413(server: HttpServer, project: Project) -> None:
    """Until the caller is known, the largest body of any route would be accepted."""
    with Connection(server.port) as connection:
        connection.send(
            head_of("POST", "/events", key=server.issue_key(project), length=2 * 1024 * 1024)
        )
        assert connection.answer().status == 413


def test_the_token_of_an_operator_works_at_once(server: HttpServer, as_key: AsKey) -> None:
    issued = issue_token("new@example.com", now_us())
    server.in_store(lambda store: store.operators.add(issued.operator, actor=ACTOR))
    assert as_key(issued.text).get("/admin/projects").status == 200


def test_callers_share_a_look_up_and_absent_ids_are_not_looked_up_again() -> None:
    async def run() -> None:
        held: set[str] = set()
        refreshes = 0
        go_on = asyncio.Event()

        async def refresh() -> None:
            nonlocal refreshes
            refreshes += 1
            await go_on.wait()
            held.add("new")

        look_ups = LookUps(refresh, held.__contains__)
        asking = [asyncio.create_task(look_ups.look_up(name)) for name in ("new", "x", "y") * 100]
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(*asking)
        # The first look-up begins before the others ask, and the second serves all of them.
        assert refreshes == 2
        assert not look_ups.is_worthwhile("new")
        assert not look_ups.is_worthwhile("x")
        assert look_ups.is_worthwhile("z")
        await look_ups.refresh()
        assert look_ups.is_worthwhile("x")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("missing", "An API key is needed: Authorization: Bearer hr_..."),
        ("malformed", "This is not an API key; one reads hr_<16 characters>_<64 characters>."),
        ("unknown", "There is no such API key."),
        ("wrong secret", "There is no such API key."),
        ("revoked", "This API key was revoked."),
        ("expired", "This API key has expired."),
        ("operator", "This is the token of an operator; this path needs an API key, hr_..."),
    ],
)
def test_each_state_of_a_key_has_its_message(
    server: HttpServer, project: Project, as_key: AsKey, state: str, message: str
) -> None:
    revoked = server.issue_key(project)
    server.in_store(
        lambda store: store.projects.revoke_key(revoked.split("_")[1], now_us(), actor=ACTOR)
    )
    keys: dict[str, str | None] = {
        "missing": None,
        "malformed": project.key[:-1],
        "unknown": f"hr_{'b' * 16}_{'0' * 64}",
        "wrong secret": f"hr_{project.key.split('_')[1]}_{'0' * 64}",
        "revoked": revoked,
        "expired": server.issue_key(project, expires_us=now_us() - 1),
        "operator": f"hro_{'0' * 16}_{'0' * 64}",
    }
    client = as_key(keys[state])

    # The keys are new: an existing key may take a second after many look-ups.
    wait_until(lambda: _message(client.get("/events").json()) == message, 5)
    assert client.get("/events").code == "Unauthorized"


def _message(body: Any) -> str | None:
    """Of an error; None of the list that a key gives which is not known to be revoked yet."""
    return body["error"]["message"] if "error" in body else None


def test_an_api_key_is_distinguished_from_an_operator_token(project: Project) -> None:
    answer = project.client().get("/admin/projects")
    assert answer.status == 401
    assert "an API key (hr_...) is not accepted here" in answer.json()["error"]["message"]


def test_guessed_keys_are_rejected_without_a_look_up(
    server: HttpServer, project: Project, as_key: AsKey
) -> None:
    """Over its rate an unknown key is rejected without a look-up; known keys are unaffected."""
    for number in range(40):
        guess = f"hr_{number:016x}_{'0' * 64}"
        assert as_key(guess).get("/events").status == 401
    client = as_key(server.issue_key(project))
    assert project.client().get("/events").status == 200
    # The poll of every second still finds it.
    wait_until(lambda: client.get("/events").status == 200, 5)
