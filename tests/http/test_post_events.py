"""`POST /events`: the response and the stored event."""

from __future__ import annotations

import re
import uuid

import pytest

from tests.support.raw_http import Client

CONTACT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_new_event_gets_202_with_its_id(client: Client) -> None:
    sent = {
        "event": "order.completed",
        "contact_id": CONTACT,
        "payload": {"order": 1},
        "occurred_at": "2026-06-08T14:15:00Z",
        "idempotency_key": "order-1",
    }

    answer = client.send(sent)

    assert answer.status == 202
    assert answer.headers["content-type"] == "application/json"
    event_id = answer.data.pop("id")
    assert uuid.UUID(event_id).version == 7
    assert answer.json() == {
        "data": {
            "id": event_id,
            "event": "order.completed",
            "resolved_identity_type": "contact_id",
            "resolved_identity_value": CONTACT,
            "occurred_at": "2026-06-08T14:15:00.000Z",
        }
    }


def test_an_accepted_event_can_be_read_at_once(client: Client) -> None:
    event_id = client.send({"event": "a.b", "external_id": "x", "payload": {"n": 1}}).data["id"]

    shown = client.get(f"/events/{event_id}").data

    received_at = shown.pop("received_at")
    assert MILLISECONDS.fullmatch(received_at)
    # The worker may already have processed it.
    assert {shown.pop("status"), shown.pop("attempts")} <= {
        "accepted",
        "processing",
        "processed",
        0,
        1,
    }
    shown.pop("contact_id")
    assert shown == {
        "id": event_id,
        "event": "a.b",
        "source": "api",
        "delivery_status": "none",
        "external_id": "x",
        "email": None,
        "payload": {"n": 1},
        "occurred_at": received_at,
        "idempotency_key": None,
        "last_error": None,
    }


def test_contact_id_goes_before_external_id_before_email(client: Client) -> None:
    identifiers = {"contact_id": CONTACT, "external_id": "x", "email": "mike@x.org"}
    resolved = []
    for name in list(identifiers):
        answer = client.send({"event": "a", **identifiers})
        resolved.append(
            (answer.data["resolved_identity_type"], answer.data["resolved_identity_value"])
        )
        del identifiers[name]

    assert resolved == [("contact_id", CONTACT), ("external_id", "x"), ("email", "mike@x.org")]


def test_null_means_absent_for_every_optional_field(client: Client) -> None:
    answer = client.send(
        {
            "event": "a",
            "contact_id": None,
            "external_id": "x",
            "email": None,
            "payload": None,
            "occurred_at": None,
            "idempotency_key": None,
        }
    )

    assert answer.status == 202
    shown = client.get(f"/events/{answer.data['id']}").data
    assert shown["payload"] == {}
    assert shown["idempotency_key"] is None


def test_null_for_the_name_is_a_missing_name(client: Client) -> None:
    answer = client.send({"event": None, "external_id": "x"})

    assert (answer.status, answer.fields) == (422, ["event"])


def test_all_problems_are_listed_at_once(client: Client) -> None:
    answer = client.send(
        {
            "event": "Not A Name",
            "email": "nobody",
            "occurred_at": "yesterday",
            "idempotency_key": "",
            "payload": [],
            "idempotencyKey": "x",
        }
    )

    assert (answer.status, answer.code) == (422, "ValidationError")
    expected = {"event", "email", "occurred_at", "idempotency_key", "payload", "idempotencyKey"}
    assert expected <= set(answer.fields)


def test_an_unknown_member_names_the_one_that_was_meant(client: Client) -> None:
    answer = client.send({"event": "a", "external_id": "x", "idempotencyKey": "1"})

    (detail,) = answer.json()["error"]["details"]
    assert detail["field"] == "idempotencyKey"
    assert "idempotency_key" in detail["message"]


def test_the_payload_is_kept_byte_for_byte(client: Client) -> None:
    payload = '{ "b" : 1.0e+2,\n\t"a":"\\u00e9\\/é", "a": 12345678901234567890123, "c": [ ] }'

    event_id = client.post(
        "/events", f'{{"event":"a","external_id":"x","payload":{payload}}}'
    ).data["id"]

    assert f'"payload":{payload},'.encode() in client.get(f"/events/{event_id}").body


def test_the_original_spelling_of_an_address_is_shown(client: Client) -> None:
    answer = client.send({"event": "a", "email": " Mike@X.ORG"})

    assert answer.data["resolved_identity_value"] == "mike@x.org"
    assert client.get(f"/events/{answer.data['id']}").data["email"] == " Mike@X.ORG"


@pytest.mark.parametrize(
    ("identifiers", "fields", "said"),
    [
        ({"external_id": "u1", "email": "nobody"}, ["email"], "external_id is valid"),
        ({"contact_id": "7", "email": "a@b.example"}, ["contact_id"], "email is valid"),
        (
            {"contact_id": CONTACT, "external_id": " ", "email": "a@b.example"},
            ["external_id"],
            "contact_id and email are valid",
        ),
    ],
)
def test_an_invalid_identifier_rejects_the_event_and_names_the_valid_ones(
    client: Client, identifiers: dict[str, str], fields: list[str], said: str
) -> None:
    answer = client.send({"event": "a.b", **identifiers})

    assert (answer.status, answer.fields) == (422, fields)
    assert answer.json()["error"]["details"][0]["message"].endswith(said)


def test_without_a_valid_identifier_none_is_named(client: Client) -> None:
    answer = client.send({"event": "a.b", "contact_id": "7", "email": "nobody"})

    assert answer.fields == ["contact_id", "email"]
    assert b"valid;" not in answer.body
    assert b"is valid" not in answer.body
