"""One key, one event: for any client, number of repeats and concurrency."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.domain.access.api_keys import Scope
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import HOST, Client, Response, head_of

PARALLEL = 200


async def post_all(port: int, requests: list[bytes]) -> list[tuple[int, dict[str, object]]]:
    """Send each over a connection of its own; all are open before the first byte is sent."""
    streams = await asyncio.gather(*(asyncio.open_connection(HOST, port) for _ in requests))
    for (_, writer), request in zip(streams, requests, strict=True):
        writer.write(request)
    answers = []
    for reader, writer in streams:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        answers.append((int(head.split()[1]), json.loads(await reader.readexactly(length))["data"]))
        writer.close()
    return answers


def post(project: Project, number: int, *, same_body: bool) -> bytes:
    payload = {} if same_body else {"number": number}
    body = json.dumps(
        {"event": "a", "external_id": "x", "idempotency_key": "one", "payload": payload}
    ).encode()
    return head_of("POST", "/events", key=project.key, length=len(body)) + body


@pytest.mark.parametrize("same_body", [True, False], ids=["same", "different bodies"])
def test_of_parallel_posts_with_a_new_key_one_is_202(
    server: HttpServer, project: Project, same_body: bool
) -> None:
    requests = [post(project, number, same_body=same_body) for number in range(PARALLEL)]

    answers = asyncio.run(post_all(server.port, requests))

    assert Counter(status for status, _ in answers) == {202: 1, 200: PARALLEL - 1}
    assert len({data["id"] for _, data in answers}) == 1
    listed = project.client().get("/events?event=a").data
    assert len(listed) == 1
    if not same_body:
        winner = next(number for number, (status, _) in enumerate(answers) if status == 202)
        assert listed[0]["payload"] == {"number": winner}


def test_a_repeat_shows_the_first(client: Client) -> None:
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k", "payload": {"b": 1, "a": 2}}
    first = client.send(sent)

    again = client.send({**sent, "payload": {"a": 2, "b": 1.0}})

    assert again.status == 200
    assert "idempotency-mismatch" not in again.headers
    assert again.json() == {
        "data": {
            "id": first.data["id"],
            "event": "a",
            "deduplicated": True,
            "occurred_at": first.data["occurred_at"],
        }
    }


@pytest.mark.parametrize(
    "change",
    [
        {"event": "b"},
        {"external_id": "y"},
        {"email": "a@x.org"},
        {"payload": {"a": 2}},
        {"payload": {"a": True}},
        {"payload": {"a": "1"}},
        {"occurred_at": "2026-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_different_content_is_reported_in_a_header(
    client: Client, change: dict[str, object]
) -> None:
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k", "payload": {"a": 1}}
    first = client.send(sent)

    again = client.send({**sent, **change})

    assert (again.status, again.data["id"]) == (200, first.data["id"])
    assert again.data["event"] == "a"
    assert again.headers["idempotency-mismatch"] == "true"
    assert "payload" not in again.data


def test_policy_reject_responds_422_to_different_content(
    server: HttpServer, project: Project
) -> None:
    client = project.client()
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k", "payload": {"secret": 1}}
    client.send(sent)
    server.set_policy(project, "idempotency_conflict", "reject")

    def refused() -> bool:
        return client.send({**sent, "payload": {}}).status == 422

    assert wait_until(refused, 5) < 5
    answer = client.send({**sent, "payload": {}})
    assert answer.code == "IdempotencyKeyReused"
    assert b"secret" not in answer.body
    assert client.send(sent).status == 200
    validated = client.post("/events/validate", json.dumps({**sent, "payload": {}}))
    assert validated.code == "IdempotencyKeyReused"


def test_the_header_names_the_key_as_well(client: Client) -> None:
    sent = {"event": "a", "external_id": "x"}
    first = client.send(sent, Idempotency_Key="k")

    assert client.send({**sent, "idempotency_key": "k"}).data["id"] == first.data["id"]
    both = client.send({**sent, "idempotency_key": "k"}, Idempotency_Key="k")
    assert (both.status, both.data["id"]) == (200, first.data["id"])
    assert client.get("/events/by-idempotency-key/k").data["id"] == first.data["id"]


def test_two_keys_that_differ_are_422(client: Client) -> None:
    answer = client.send(
        {"event": "a", "external_id": "x", "idempotency_key": "k"}, Idempotency_Key="K"
    )

    assert (answer.status, answer.fields) == (422, ["idempotency_key"])


def test_upper_and_lower_case_are_two_keys(client: Client) -> None:
    ids = {
        client.send({"event": "a", "external_id": "x", "idempotency_key": key}).data["id"]
        for key in ("a", "A", "a ", " a")
    }
    assert len(ids) == 4


def test_projects_never_share_a_key(server: HttpServer) -> None:
    projects = [server.project() for _ in range(3)]
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k"}

    answers = [project.client().send(sent) for project in projects]

    assert [answer.status for answer in answers] == [202] * 3
    for project in projects:
        project.close()


def test_api_keys_of_a_project_share_its_idempotency_keys(
    server: HttpServer, project: Project
) -> None:
    other = project.client(server.issue_key(project, [Scope.INGEST]))
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k"}
    first = project.client().send(sent)
    wait_until(lambda: other.get("/events").status == 403, 5)

    again = other.send(sent)

    assert (again.status, again.data["id"]) == (200, first.data["id"])


def single(client: Client, key: str) -> Response:
    return client.send({"event": "a", "external_id": "x", "idempotency_key": key})


def by_header(client: Client, key: str) -> Response:
    return client.send({"event": "a", "external_id": "x"}, Idempotency_Key=key)


WAYS: tuple[Callable[[Client, str], Response], ...] = (single, by_header)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from("abAB~")), max_size=20))
def test_any_mix_of_request_forms_gives_one_event_per_key(
    shared: Project, sends: list[tuple[Callable[[Client, str], Response], str]]
) -> None:
    client = shared.client()
    # The server outlives the example, which may be run again.
    run = uuid.uuid4()
    ids: dict[str, str] = {}
    for way, letter in sends:
        answer = way(client, f"{run}{letter}")
        assert answer.status == (200 if letter in ids else 202)
        assert ids.setdefault(letter, answer.data["id"]) == answer.data["id"]
    client.close()


def in_batch(client: Client, key: str) -> Response:
    event = {"event": "a", "external_id": "x", "idempotency_key": key}
    return client.post("/events/batch", json.dumps({"events": [event]}))


def validated(client: Client, key: str) -> Response:
    event = {"event": "a", "external_id": "x", "idempotency_key": key}
    return client.post("/events/validate", json.dumps(event))


@pytest.mark.parametrize("way", [single, by_header, in_batch, validated])
@pytest.mark.parametrize(
    "key", ["undefined", "null", "None", "NaN", "[object Object]", "nil", "0", "0000-00", "TEST"]
)
def test_a_key_that_looks_like_an_unset_variable_is_422(
    client: Client, key: str, way: Callable[[Client, str], Response]
) -> None:
    answer = way(client, key)

    if way is in_batch:
        assert answer.json()["rejected"] == 1
        error = answer.json()["data"][0]["error"]
    else:
        assert answer.status == 422
        error = answer.json()["error"]
    assert "looks like an unset variable" in error["details"][0]["message"]


@pytest.mark.parametrize("key", [" ", "     ", " undefined "])
def test_blanks_around_nothing_or_a_placeholder_are_no_key(client: Client, key: str) -> None:
    assert single(client, key).fields == ["idempotency_key"]


@pytest.mark.parametrize("key", ["order-1", "info@shop.example", "0a", "nullable", "1", "00-1"])
def test_a_key_that_only_resembles_a_placeholder_is_accepted(client: Client, key: str) -> None:
    assert single(client, key).status == 202


def test_the_policy_of_placeholders_applies_to_keys(server: HttpServer, project: Project) -> None:
    client = project.client()
    server.set_policy(project, "placeholder_identifiers", "none-yet, !test")

    assert wait_until(lambda: single(client, "none-yet").status == 422, 5) < 5
    assert single(client, "test").status == 202
