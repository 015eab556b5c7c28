"""`/dead-letters` and `/replays`: list, replay, discard, and authorization."""

from __future__ import annotations

import json
import re
import uuid
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import pytest

from headrace.delivery.contract import FailureCause
from headrace.domain.access.api_keys import Scope
from headrace.domain.ids import sequence_of_id
from headrace.store.automations.dead_letters import STEP_FAILED
from headrace.store.contract.deliveries import StoreCause
from tests.support.dead_letters import DeadLetterRows, rows_of_server
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
#: Rejected by the address rules, so a replayed delivery fails at once and sends nothing.
NOWHERE = "http://127.0.0.1:9/hook"
#: What became of the events that a job has replayed.
OUTCOME = ("succeeded", "pending", "failed_again")


@pytest.fixture
def rows(server: HttpServer) -> DeadLetterRows:
    return rows_of_server(server.directory)


def post(client: Client, path: str, body: Any = None) -> Response:
    return client.request("POST", path, body=None if body is None else json.dumps(body).encode())


def status_of(client: Client, event_id: str) -> str:
    return str(client.get(f"/events/{event_id}").data["status"])


def send(client: Client, event: str = "order.completed") -> str:
    """Send an event and wait until it is processed; returns its id."""
    event_id: str = client.send({"event": event, "external_id": "user_1"}).data["id"]
    wait_until(lambda: status_of(client, event_id) == "processed", 20)
    return event_id


def sequence(event_id: str) -> int:
    return sequence_of_id(uuid.UUID(event_id).bytes)


def dead_event(client: Client, rows: DeadLetterRows, event: str = "order.completed") -> str:
    """A dead letter of an event whose processing was given up; returns its id."""
    return rows.processing(sequence(send(client, event)))


def dead_delivery(client: Client, project: Project, rows: DeadLetterRows) -> tuple[str, str]:
    """Ids of a dead letter and of its subscriber, which matches no event of these tests."""
    subscriber_id = rows.subscriber(project.id, target=NOWHERE, events=["never.sent"])
    return rows.delivery(sequence(send(client)), subscriber_id), subscriber_id


def ids(client: Client, query: str = "") -> list[str]:
    answer = client.get(f"/dead-letters?{query}")
    assert answer.status == 200, answer.body
    return [shown["id"] for shown in answer.data]


def test_a_dead_letter_is_shown(client: Client, rows: DeadLetterRows) -> None:
    event_id = send(client)
    dead_letter_id = rows.processing(sequence(event_id), attempts=2)

    answer = client.get("/dead-letters")

    assert answer.json()["next_cursor"] is None
    [shown] = answer.data
    times = [shown.pop("first_failed_at"), shown.pop("dead_lettered_at")]
    assert times == sorted(times)
    assert all(MILLISECONDS.fullmatch(at) for at in times)
    assert shown == {
        "id": dead_letter_id,
        "event_id": event_id,
        "event": "order.completed",
        "kind": "processing",
        "subscriber_id": None,
        "run_id": None,
        "cause": "StoreRowError",
        "error": "StoreRowError: it would not go",
        "attempts": 2,
    }
    assert status_of(client, event_id) == "dead_lettered"


def test_filters_and_pages(client: Client, project: Project, rows: DeadLetterRows) -> None:
    first = dead_event(client, rows)
    second = dead_event(client, rows, "cart.left")
    third, subscriber_id = dead_delivery(client, project, rows)

    assert ids(client) == [third, second, first]
    assert ids(client, "event=cart.left") == [second]
    assert ids(client, "kind=processing") == [second, first]
    assert ids(client, "kind=delivery") == [third]
    assert ids(client, f"subscriber_id={subscriber_id.upper()}") == [third]
    assert ids(client, "cause=rejected&kind=delivery") == [third]
    assert ids(client, "cause=rejected&kind=processing") == []
    page = client.get("/dead-letters?limit=2").json()
    assert [shown["id"] for shown in page["data"]] == [third, second]
    assert ids(client, f"limit=2&cursor={page['next_cursor']}") == [first]
    refused = client.get(f"/dead-letters?kind=delivery&cursor={page['next_cursor']}")
    assert refused.status == 422


@pytest.mark.parametrize("path", ["/dead-letters", "/dead-letters/groups"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("event=Order.Completed", "event"),
        ("event=" + "a" * 201, "event"),
        ("event=%27%3B%20drop%20table%20events%3B--", "event"),
        ("subscriber_id=1", "subscriber_id"),
        ("subscriber_id=" + "0" * 36, "subscriber_id"),
        ("subscriber_id=%27%20OR%201%3D1", "subscriber_id"),
        ("cause=a%00b", "cause"),
        ("cause=", "cause"),
        ("cause=" + "a" * 101, "cause"),
        ("cause=%25", "cause"),
        ("cause=nope", "cause"),
        ("cause=Rejected%20", "cause"),
        ("kind=both", "kind"),
        ("kind=PROCESSING", "kind"),
        ("kind=delivery&kind=processing", "kind"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("cursor=AAAA", "cursor"),
        ("state=0", "state"),
    ],
)
def test_hostile_filters_are_rejected(shared: Project, path: str, query: str, field: str) -> None:
    answer = shared.client().get(f"{path}?{query}")
    assert answer.status == 422
    assert answer.fields[0] == field


def test_an_unknown_cause_is_answered_with_those_that_exist(client: Client) -> None:
    answer = client.get("/dead-letters?cause=nope")
    assert answer.status == 422
    message = answer.json()["error"]["details"][0]["message"]
    assert "rejected, gone" in message
    for cause in (*FailureCause, *StoreCause, STEP_FAILED):
        assert f"{cause.value if isinstance(cause, StrEnum) else cause}," in message
        assert client.get(f"/dead-letters?cause={cause}").status == 200
    assert client.get("/dead-letters?cause=StoreRowError").data == []


def test_every_wrong_filter_is_named_at_once(client: Client) -> None:
    answer = client.get("/dead-letters?event=A&kind=b&cause=%25&subscriber_id=x")
    assert answer.fields == ["event", "kind", "cause", "subscriber_id"]


def test_groups(client: Client, project: Project, rows: DeadLetterRows) -> None:
    for _ in range(2):
        dead_event(client, rows)
    _, subscriber_id = dead_delivery(client, project, rows)

    answer = client.get("/dead-letters/groups")

    often, once = answer.data
    assert answer.json()["next_cursor"] is None
    assert often.pop("first_dead_lettered_at") < often.pop("last_dead_lettered_at")
    assert once.pop("first_dead_lettered_at") == once.pop("last_dead_lettered_at")
    assert often == {
        "kind": "processing",
        "subscriber_id": None,
        "cause": "StoreRowError",
        "event": "order.completed",
        "count": 2,
    }
    assert once == {
        "kind": "delivery",
        "subscriber_id": subscriber_id,
        "cause": "rejected",
        "event": "order.completed",
        "count": 1,
    }
    page = client.get("/dead-letters/groups?limit=1").json()
    following = client.get(f"/dead-letters/groups?limit=1&cursor={page['next_cursor']}").json()
    assert [page["data"][0]["count"], following["data"][0]["count"]] == [2, 1]
    assert following["next_cursor"] is None
    assert len(client.get("/dead-letters/groups?kind=delivery").data) == 1


@pytest.mark.parametrize("body", [None, {}])
def test_a_replayed_event_is_processed_again(
    client: Client, rows: DeadLetterRows, body: Any
) -> None:
    event_id = send(client)
    dead_letter_id = rows.processing(sequence(event_id))
    before = len(client.get("/events?event=order.completed").data)

    answer = post(client, f"/dead-letters/{dead_letter_id}/replay", body)

    assert answer.status == 200
    assert answer.data["id"] == dead_letter_id
    assert answer.data["event_id"] == event_id
    wait_until(lambda: status_of(client, event_id) == "processed", 20)
    assert ids(client) == []
    assert len(client.get("/events?event=order.completed").data) == before
    again = post(client, f"/dead-letters/{dead_letter_id}/replay")
    assert (again.status, again.code) == (409, "Conflict")


def test_a_discarded_dead_letter_stays_unchanged(client: Client, rows: DeadLetterRows) -> None:
    event_id = send(client)
    dead_letter_id = rows.processing(sequence(event_id))

    answer = post(client, f"/dead-letters/{dead_letter_id}/discard", {"reason": " a test "})

    assert (answer.status, answer.data["id"]) == (200, dead_letter_id)
    assert status_of(client, event_id) == "dead_lettered"
    assert ids(client) == []
    for move, body in (("replay", None), ("discard", {"reason": "again"})):
        refused = post(client, f"/dead-letters/{dead_letter_id}/{move}", body)
        assert (refused.status, refused.code) == (409, "Conflict")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": None},
        {"reason": ""},
        {"reason": "  "},
        {"reason": "a" * 501},
        {"reason": 1},
        {"reason": True},
        {"reason": ["a"]},
        {"reason": "a\nb"},
        {"reason": "a\u0000b"},
        {"reason": "a\u001b[31m"},
        {"reason": "\ud800"},
        {"reason": "a", "why": "b"},
        {"resaon": "a"},
    ],
)
def test_a_discard_needs_a_reason(shared: Project, body: Any) -> None:
    answer = post(shared.client(), f"/dead-letters/{NOBODY}/discard", body)
    assert (answer.status, answer.code) == (422, "ValidationError")


def test_a_disabled_subscriber_is_named_as_the_reason(
    client: Client, project: Project, rows: DeadLetterRows
) -> None:
    event_id = send(client)
    disabled = rows.subscriber(project.id, target=NOWHERE, events=["never.sent"], enabled=False)
    dead_letter_id = rows.delivery(sequence(event_id), disabled)

    answer = post(client, f"/dead-letters/{dead_letter_id}/replay")

    assert answer.status == 409
    assert "disabled" in answer.json()["error"]["message"]
    assert ids(client) == [dead_letter_id]


def test_a_delivery_is_replayed_by_itself(
    client: Client, project: Project, rows: DeadLetterRows
) -> None:
    dead_letter_id, _ = dead_delivery(client, project, rows)

    answer = post(client, f"/dead-letters/{dead_letter_id}/replay")

    assert answer.status == 200
    assert dead_letter_id not in ids(client)
    assert status_of(client, answer.data["event_id"]) == "processed"


def test_other_projects_are_not_there(
    server: HttpServer, client: Client, rows: DeadLetterRows
) -> None:
    dead_letter_id = dead_event(client, rows)
    replay_id = post(client, "/dead-letters/replay", {"filter": {"event": "none"}}).data["id"]
    stranger = server.project()
    other = stranger.client()
    absent = str(uuid.uuid4())

    for found in (dead_letter_id, absent):
        for answer in (
            post(other, f"/dead-letters/{found}/replay"),
            post(other, f"/dead-letters/{found}/discard", {"reason": "mine now"}),
        ):
            assert (answer.status, answer.code) == (404, "NotFound")
    for found in (replay_id, absent, "1", "%00", quote("' OR 1=1")):
        assert other.get(f"/replays/{found}").status == 404
        assert post(other, f"/replays/{found}/stop").status == 404
    assert ids(other) == []
    assert other.get("/dead-letters/groups").data == []
    assert other.get("/replays").data == []
    everything: dict[str, Any] = {"filter": {}, "dry_run": True}
    assert post(other, "/dead-letters/replay", everything).data == {"count": 0, "sample": []}
    assert post(other, "/dead-letters/replay", {"filter": {}}).data["total"] == 0
    assert ids(client) == [dead_letter_id]
    stranger.close()


def test_scopes_decide(server: HttpServer, project: Project) -> None:
    keys = {scope: server.issue_key(project, [scope]) for scope in Scope}
    clients = {scope: project.client(key) for scope, key in keys.items()}
    wait_until(lambda: clients[Scope.MANAGE].get("/contacts").status != 401, 10)
    reads = ["/dead-letters", "/dead-letters/groups", "/replays", f"/replays/{NOBODY}"]
    writes: list[tuple[str, Any]] = [
        (f"/dead-letters/{NOBODY}/replay", None),
        (f"/dead-letters/{NOBODY}/discard", {"reason": "a"}),
        ("/dead-letters/replay", {"filter": {}, "dry_run": True}),
        (f"/replays/{NOBODY}/stop", None),
    ]

    statuses = {
        scope: (
            [client.get(path).status for path in reads],
            [post(client, path, body).status for path, body in writes],
        )
        for scope, client in clients.items()
    }

    assert statuses == {
        Scope.INGEST: ([403] * 4, [403] * 4),
        Scope.READ: ([200, 200, 200, 404], [403] * 4),
        Scope.SEND: ([403] * 4, [403] * 4),
        Scope.TRACK: ([403] * 4, [403] * 4),
        Scope.MANAGE: ([403] * 4, [404, 404, 200, 404]),
    }


def test_a_dry_run_changes_nothing(client: Client, rows: DeadLetterRows) -> None:
    wanted = [dead_event(client, rows, "cart.left") for _ in range(2)]
    dead_event(client, rows)

    body = {"filter": {"event": "cart.left", "kind": None}, "dry_run": True, "per_second": 1}
    answer = post(client, "/dead-letters/replay", body)

    assert answer.status == 200
    assert set(answer.data) == {"count", "sample"}
    assert answer.data["count"] == 2
    assert [shown["id"] for shown in answer.data["sample"]] == wanted[::-1]
    assert len(ids(client)) == 3
    assert client.get("/replays").data == []


def test_a_job_replays_what_matches(client: Client, rows: DeadLetterRows) -> None:
    events = [send(client, "cart.left") for _ in range(3)]
    for event_id in events:
        rows.processing(sequence(event_id))
    other = dead_event(client, rows)

    answer = post(client, "/dead-letters/replay", {"filter": {"event": "cart.left"}})

    assert answer.status == 202
    job = answer.data
    assert set(job) == {"id", "status", "total", "done", "webhook_id", *OUTCOME}
    assert job["total"] == 3

    def shown() -> Any:
        return client.get(f"/replays/{job['id']}").data

    wait_until(lambda: shown()["status"] == "done", 20)
    wait_until(lambda: {status_of(client, each) for each in events} == {"processed"}, 20)
    outcome = dict(zip(OUTCOME, (3, 0, 0), strict=True))
    done = {"id": job["id"], "status": "done", "total": 3, "done": 3, "webhook_id": None}
    assert shown() == done | outcome
    assert ids(client) == [other]
    assert client.get("/replays").data == [shown() | dict.fromkeys(OUTCOME)]
    stopped = post(client, f"/replays/{job['id']}/stop")
    assert (stopped.status, stopped.code) == (409, "Conflict")


def test_a_job_is_stopped_on_request(client: Client, rows: DeadLetterRows) -> None:
    for _ in range(4):
        dead_event(client, rows)
    job = post(client, "/dead-letters/replay", {"filter": {}, "per_second": 1}).data

    stopped = post(client, f"/replays/{job['id']}/stop")

    assert stopped.status == 200
    assert stopped.data["status"] == "stopped"
    assert stopped.data["done"] < 4
    assert client.get(f"/replays/{job['id']}").data == stopped.data


def test_so_many_jobs_run_at_once(client: Client, project: Project, rows: DeadLetterRows) -> None:
    place = sequence(send(client))
    for _ in range(40):
        subscriber_id = rows.subscriber(project.id, target=NOWHERE, events=["never.sent"])
        rows.delivery(place, subscriber_id, attempts=1)
    body = {"filter": {}, "per_second": 1}

    answers = [post(client, "/dead-letters/replay", body) for _ in range(11)]

    assert [answer.status for answer in answers] == [202] * 10 + [409]
    pages = client.get("/replays?limit=6").json()
    rest = client.get(f"/replays?limit=6&cursor={pages['next_cursor']}").json()
    assert [len(pages["data"]), len(rest["data"]), rest["next_cursor"]] == [6, 4, None]
    for answer in answers[:10]:
        post(client, f"/replays/{answer.data['id']}/stop")


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["filter"]),
        ({"filter": None}, ["filter"]),
        ({"filter": []}, ["filter"]),
        ({"filter": "all"}, ["filter"]),
        ({"filter": {"event": "A"}}, ["filter.event"]),
        ({"filter": {"event": 1, "kind": "x"}}, ["filter.event", "filter.kind"]),
        ({"filter": {"cause": "' OR 1=1"}}, ["filter.cause"]),
        ({"filter": {"cuase": "gone"}}, ["filter.cuase"]),
        ({"filter": {"subscriber_id": "\ud800"}}, ["filter.subscriber_id"]),
        ({"filter": {}, "dry_run": "yes"}, ["dry_run"]),
        ({"filter": {}, "dry_run": 1}, ["dry_run"]),
        ({"filter": {}, "per_second": 0}, ["per_second"]),
        ({"filter": {}, "per_second": -1}, ["per_second"]),
        ({"filter": {}, "per_second": 1001}, ["per_second"]),
        ({"filter": {}, "per_second": 1.5}, ["per_second"]),
        ({"filter": {}, "per_second": 10**40}, ["per_second"]),
        ({"filter": {}, "per_second": "5"}, ["per_second"]),
        ({"filter": {}, "dryRun": True}, ["dryRun"]),
    ],
)
def test_a_wrong_job_is_rejected(shared: Project, body: Any, fields: list[str]) -> None:
    answer = post(shared.client(), "/dead-letters/replay", body)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert answer.fields == fields


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"filter":{},"filter":{}}', b"\xff"])
def test_a_malformed_job_is_rejected(shared: Project, body: bytes) -> None:
    answer = shared.client().post("/dead-letters/replay", body)
    assert answer.status == 400


def test_other_media_types_are_rejected(shared: Project) -> None:
    answer = shared.client().post("/dead-letters/replay", b"{}", body_type="text/plain")
    assert answer.status == 415


@pytest.mark.parametrize("path", [f"/dead-letters/{NOBODY}/replay", f"/replays/{NOBODY}/stop"])
def test_an_unused_body_is_rejected(shared: Project, path: str) -> None:
    client = shared.client()
    assert post(client, path, {"per_second": 5}).status == 422
    assert client.post(path, b"[]").status == 400
    assert client.post(f"{path}?force=true", b"{}").status == 422
    assert post(client, path, {}).status == 404


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/dead-letters", "GET, HEAD"),
        ("/dead-letters/replay", "POST"),
        (f"/dead-letters/{NOBODY}/replay", "POST"),
        (f"/replays/{NOBODY}", "GET, HEAD"),
    ],
)
def test_other_methods_are_rejected(shared: Project, path: str, allowed: str) -> None:
    answer = shared.client().request("DELETE", path)
    assert answer.status == 405
    assert sorted(answer.headers["allow"].split(", ")) == sorted(allowed.split(", "))
