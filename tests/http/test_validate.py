"""`POST /events/validate`: the same responses as `POST /events`, and nothing stored."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.raw_http import Client

SENT: dict[str, Any] = {"event": "a", "external_id": "x", "occurred_at": "2026-01-01T00:00:00Z"}
REFUSED: list[Any] = [
    "",
    "null",
    '{"event":"a","event":"a"}',
    {},
    {**SENT, "event": "sendrealm.x"},
    {**SENT, "event": "B"},
    {**SENT, "payload": {"a": "x" * 70_000}},
    {**SENT, "idempotencyKey": "x"},
    {**SENT, "external_id": "\u0000"},
]


def test_a_valid_event_gets_the_response_of_a_new_one_and_is_not_stored(client: Client) -> None:
    answers = [client.post(path, json.dumps(SENT)) for path in ("/events/validate", "/events")]

    assert [answer.status for answer in answers] == [202, 202]
    bodies = [answer.data for answer in answers]
    stored_id = bodies[1].pop("id")
    assert client.get(f"/events/{bodies[0].pop('id')}").status == 404
    assert bodies[0] == bodies[1]
    assert [event["id"] for event in client.get("/events?event=a").data] == [stored_id]


@pytest.mark.parametrize("sent", REFUSED, ids=lambda sent: str(sent)[:40])
def test_an_invalid_event_gets_the_response_of_a_sent_one(client: Client, sent: Any) -> None:
    body = sent if isinstance(sent, str) else json.dumps(sent)
    validated, posted = (client.post(path, body) for path in ("/events/validate", "/events"))

    assert validated.status == posted.status
    assert validated.json() == posted.json()


def test_a_known_key_returns_its_event(client: Client) -> None:
    sent = {**SENT, "idempotency_key": "k"}
    validated_first = client.post("/events/validate", json.dumps(sent))
    stored = client.send(sent)
    repeated = client.post("/events/validate", json.dumps(sent))
    changed = client.post("/events/validate", json.dumps({**sent, "payload": {"a": 1}}))

    assert (validated_first.status, stored.status, repeated.status) == (202, 202, 200)
    assert repeated.data["id"] == stored.data["id"]
    assert repeated.data["deduplicated"] is True
    assert (changed.status, changed.headers["idempotency-mismatch"]) == (200, "true")


def test_the_key_header_counts(client: Client) -> None:
    stored = client.send(SENT, Idempotency_Key="k")
    repeated = client.post("/events/validate", json.dumps(SENT), headers={"Idempotency-Key": "k"})

    assert (repeated.status, repeated.data["id"]) == (200, stored.data["id"])


@pytest.mark.parametrize("body_type", ["text/plain", "application/x-ndjson", ""])
def test_the_media_type_is_checked(client: Client, body_type: str) -> None:
    assert client.post("/events/validate", json.dumps(SENT), body_type=body_type).status == 415
