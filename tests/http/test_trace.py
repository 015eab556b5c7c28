"""`GET /events/{id}/trace`: the complete history of an event."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope
from headrace.domain.ids import sequence_of_id
from tests.support.dead_letters import rows_of_server
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client


def trace(client: Client, event_id: str) -> dict[str, Any]:
    answer = client.get(f"/events/{event_id}/trace")
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.data
    return found


def entries(client: Client, event_id: str) -> list[dict[str, Any]]:
    """The trace without candidate subscribers: handlers belong to every project."""
    found: list[dict[str, Any]] = trace(client, event_id)["entries"]
    return [entry for entry in found if entry["type"] != "subscriber_skipped"]


def types(client: Client, event_id: str) -> list[str]:
    return [entry["type"] for entry in entries(client, event_id)]


def processed(client: Client, **event: Any) -> str:
    sent = client.send({"event": "order.completed", "external_id": "user_1", **event})
    event_id: str = sent.data["id"]
    wait_until(lambda: trace(client, event_id)["event"]["status"] == "processed", 20)
    return event_id


def test_the_life_of_an_event(client: Client) -> None:
    sent = client.send({"event": "order.completed", "external_id": "user_1", "payload": {"a": 1}})
    event_id = sent.data["id"]
    wait_until(lambda: trace(client, event_id)["event"]["status"] == "processed", 20)

    shown = trace(client, event_id)

    assert set(shown) == {"event", "entries"}
    assert shown["event"] == client.get(f"/events/{event_id}").data
    found = entries(client, event_id)
    assert [entry["type"] for entry in found] == [
        "received",
        "processing_started",
        "identity_resolved",
        "contact_created",
        "processed",
    ]
    assert [entry["at"] for entry in found] == sorted(entry["at"] for entry in found)
    assert found[0]["request_id"] == sent.headers["x-request-id"]
    assert client.key is not None
    assert found[0]["api_key"] == client.key.split("_")[1]
    assert found[2]["reason"] == "created"
    assert found[2]["field"] == "external_id"
    assert found[2]["contact_id"] == shown["event"]["contact_id"]
    moves = [entry["status"] for entry in found if "status" in entry]
    assert moves == ["accepted", "processing", "processed"]


def test_the_next_event_matches_the_contact(client: Client) -> None:
    first, second = processed(client), processed(client, email="mike@x.org")

    assert "contact_created" in types(client, first)
    matched = types(client, second)
    assert "contact_created" not in matched
    assert "contact_filled" in matched


def test_repeats_of_the_key_are_listed(client: Client) -> None:
    event_id = processed(client, idempotency_key="k")
    again = client.send(
        {"event": "order.completed", "external_id": "user_1", "idempotency_key": "k"}
    )
    other = client.send({"event": "order.lost", "external_id": "user_1", "idempotency_key": "k"})
    assert again.data["id"] == other.data["id"] == event_id

    repeats = [e for e in entries(client, event_id) if e["type"] == "key_repeated"]

    assert [repeat["mismatch"] for repeat in repeats] == [False, True]
    assert [repeat["request_id"] for repeat in repeats] == [
        again.headers["x-request-id"],
        other.headers["x-request-id"],
    ]


def test_dead_letter_replay_and_its_result(server: HttpServer, client: Client) -> None:
    rows = rows_of_server(server.directory)
    event_id = processed(client)
    dead_letter_id = rows.processing(sequence_of_id(uuid.UUID(event_id).bytes), attempts=2)
    assert trace(client, event_id)["event"]["status"] == "dead_lettered"
    client.request("POST", f"/dead-letters/{dead_letter_id}/replay")
    wait_until(lambda: trace(client, event_id)["event"]["status"] == "processed", 20)

    found = entries(client, event_id)

    [dead] = [entry for entry in found if entry["type"] == "dead_lettered"]
    [replayed] = [entry for entry in found if entry["type"] == "replayed"]
    failed = [entry for entry in found if entry["type"] == "processing_failed"]
    assert dead["dead_letter_id"] == replayed["dead_letter_id"] == dead_letter_id
    assert client.key is not None
    assert replayed["actor"] == client.key.split("_")[1]
    assert [entry["attempt"] for entry in failed] == [1, 2]
    assert {entry["cause"] for entry in failed} == {"StoreRowError"}


def test_a_skipped_subscriber_is_listed_with_the_reason(
    server: HttpServer, client: Client, project: Project
) -> None:
    rows = rows_of_server(server.directory)
    subscriber_id = rows.subscriber(project.id, events=["never.sent"])
    event_id = processed(client)

    [entry] = [
        entry
        for entry in trace(client, event_id)["entries"]
        if entry.get("subscriber_id") == subscriber_id
    ]

    assert entry["type"] == "subscriber_skipped"
    assert "never.sent" in entry["text"]


def test_hostile_text_comes_back_as_text(server: HttpServer, client: Client) -> None:
    rows = rows_of_server(server.directory)
    event_id = processed(client, external_id="<script>\u202e{{7*7}}")
    dead_letter_id = rows.processing(sequence_of_id(uuid.UUID(event_id).bytes))
    reason = '<img onerror="x"> \u202e {0} %s'
    client.post(f"/dead-letters/{dead_letter_id}/discard", json.dumps({"reason": reason}))

    answer = client.get(f"/events/{event_id}/trace")

    assert answer.headers["content-type"] == "application/json"
    [discarded] = [e for e in answer.data["entries"] if e["type"] == "discarded"]
    assert discarded["reason"] == reason


def test_other_projects_events_are_not_there(server: HttpServer, client: Client) -> None:
    event_id = processed(client)
    stranger = server.project()
    other = stranger.client()
    absent = uuid.UUID(int=uuid.UUID(event_id).int ^ 1)
    for found in (event_id, absent, uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), "x", "%00", "1"):
        answer = other.get(f"/events/{found}/trace")
        assert (answer.status, answer.code) == (404, "NotFound")
    assert client.get(f"/events/{absent}/trace").status == 404
    stranger.close()


def test_it_takes_the_scope_read_and_no_parameters(server: HttpServer, project: Project) -> None:
    event_id = processed(project.client())
    keys = {scope: server.issue_key(project, [scope]) for scope in Scope}
    clients = {scope: project.client(key) for scope, key in keys.items()}
    path = f"/events/{event_id}/trace"
    wait_until(lambda: clients[Scope.READ].get(path).status != 401, 10)

    statuses = {scope: client.get(path).status for scope, client in clients.items()}

    assert statuses == {scope: 200 if scope is Scope.READ else 403 for scope in Scope}
    assert clients[Scope.READ].get(f"{path}?all=1").status == 422
    assert clients[Scope.MANAGE].request("POST", path).status == 405


@pytest.mark.parametrize("key", [None, "hr_0123456789abcdef_" + "0" * 64])
def test_without_a_key_nothing_is_revealed(server: HttpServer, key: str | None) -> None:
    client = Client(server.port, key)
    assert client.get(f"/events/{uuid.uuid4()}/trace").status == 401
    client.close()


def test_skipped_subscribers_share_one_entry(
    server: HttpServer, client: Client, project: Project
) -> None:
    rows = rows_of_server(server.directory)
    for number in range(5):
        rows.subscriber(project.id, target=f"http://host-{number}/", events=["never.sent"])
    event_id = processed(client)

    entries = trace(client, event_id)["entries"]

    [entry] = [entry for entry in entries if entry["type"] == "subscriber_skipped"]
    assert entry["count"] == 5
    assert "subscriber_id" not in entry
    assert entry["text"].startswith(
        "5 subscribers skipped, not subscribed to this event name: webhook host-"
    )
    assert entry["text"].endswith(" and 2 more.")


@pytest.mark.parametrize("name", ["氏名", "größe", "имя", "שם"])
def test_names_of_properties_are_shown_as_they_were_written(client: Client, name: str) -> None:
    event_id = processed(client, payload={"$set": {name: "x", f"{name}2": {"a": 1}}})

    entries = trace(client, event_id)["entries"]

    assert any(name in entry["text"] for entry in entries if entry["type"] == "properties_written")
    ignored = [entry["field"] for entry in entries if entry["type"] == "property_ignored"]
    assert ignored == [f"properties.{name}2"]


def test_what_cannot_be_printed_of_a_name_is_escaped(client: Client) -> None:
    event_id = processed(client, payload={"$set": {"a\u202eb\x1b[1m\\": {"a": 1}}})

    entries = trace(client, event_id)["entries"]

    [ignored] = [entry for entry in entries if entry["type"] == "property_ignored"]
    assert ignored["field"] == r"properties.a\u202eb\x1b[1m\\"
