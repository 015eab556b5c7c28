"""Quality of the OpenAPI document for readers and generators of clients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs
import pytest

from headrace.delivery.webhook.body import webhook_body
from headrace.domain.contacts.audiences import AUDIENCE_ENTERED, audience_payload
from headrace.domain.contacts.contact import CONTACT_UPDATED, Contact, event_payload
from headrace.domain.contacts.topics import TOPIC_SUBSCRIBED, Topic, topic_payload
from headrace.domain.events.event import Source, Status, StoredEvent
from headrace.http.openapi import ApiDocument, openapi_document
from headrace.http.table import ROUTES, TAGS
from tests.support.raw_http import Client

DOCUMENT = openapi_document(ROUTES, TAGS)
OPERATIONS = {
    operation["operationId"]: operation
    for item in DOCUMENT["paths"].values()
    for operation in item.values()
}
ID = "0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"
#: Names chosen by callers, and numbers of rows.
NO_UUID = {
    *("external_id", "request_id", "provider_id", "Rejection.id", "AuditEntry.id"),
    # Push apps have short ids; clients choose those of devices, and services those of tokens.
    *("app_id", "device_id", "PushAppResponse.id", "PushApp.id", "public_id", "registration_id"),
    *("user_external_id", "external_user_id"),
    # Chosen by callers.
    *("PushButtonInput.id", "PushTemplateButton.id", "PushButton.id", "channel_id"),
}


def schema_of(schema: Mapping[str, Any]) -> jsonschema_rs.Validator:
    """A validator that knows the components and checks formats."""
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_is_grouped_and_described(operation: Mapping[str, Any]) -> None:
    assert operation["tags"][0] in TAGS
    assert operation["summary"]
    assert operation["description"]
    for parameter in operation.get("parameters", ()):
        assert parameter["in"] == "path" or parameter["description"]
    for status, answer in operation["responses"].items():
        assert answer["description"]
        assert "X-Request-Id" in answer["headers"]
        assert ("Retry-After" in answer["headers"]) == (status in ("429", "503"))


def contents(operation: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    parts = [operation.get("requestBody", {}), *operation["responses"].values()]
    for part in parts:
        if "application/json" in part.get("content", {}):
            yield part["content"]["application/json"]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_example_is_what_its_schema_says(operation: Mapping[str, Any]) -> None:
    for content in contents(operation):
        if "example" in content:
            schema_of(content["schema"]).validate(content["example"])


def test_responses_and_bodies_have_examples() -> None:
    for name, operation in OPERATIONS.items():
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None and "$ref" in body["schema"] and name != "addContactsToAudience":
            assert "example" in body, name
        for status, answer in operation["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            if status < "400" and "data" in schema.get("properties", {}):
                assert "example" in answer["content"]["application/json"], name


def members() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for type_name, schema in DOCUMENT["components"]["schemas"].items():
        for name, member in schema.get("properties", {}).items():
            yield type_name, name, member


def test_ids_and_times_say_their_format() -> None:
    for type_name, name, member in members():
        if {name, f"{type_name}.{name}"} & NO_UUID:
            continue
        if name == "id" or name.endswith("_id"):
            assert member.get("format") == "uuid", (type_name, name)
        if name in ("at", "since", "timestamp") or name.endswith(("_at", "_until")):
            assert member.get("format") == "date-time", (type_name, name)


def test_no_schema_is_left_open() -> None:
    """Every property has a type, a reference or a choice of them."""
    for type_name, name, member in members():
        known = {"type", "$ref", "anyOf", "oneOf", "const", "enum"} & member.keys()
        assert known or (type_name, name) == ("CatalogPath", "example"), (type_name, name)


def test_batches_name_the_type_of_their_items() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    events = schemas["BatchInput"]["properties"]["events"]
    contacts = schemas["ContactBatchInput"]["properties"]["contacts"]
    assert events["items"] == {"$ref": "#/components/schemas/EventInput"}
    assert contacts["items"] == {"$ref": "#/components/schemas/ContactInput"}


def test_creating_needs_a_name_and_changing_does_not() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name, required in (
        ("Topic", ["name"]),
        ("Audience", ["name"]),
        ("Webhook", ["url", "events"]),
    ):
        assert schemas[f"{name}Create"]["required"] == required
        assert not schemas[f"{name}Update"].get("required")


@pytest.mark.parametrize(
    ("sent", "allowed"),
    [
        ({"event": "a", "external_id": "x"}, True),
        ({"event": "a", "contact_id": ID, "email": None}, True),
        ({"event": "a"}, False),
        ({"event": "a", "email": None, "external_id": None}, False),
        ({"event": "sendrealm.a", "external_id": "x"}, False),
        ({"event": "a", "external_id": "x", "externalId": "y"}, False),
    ],
)
def test_an_event_needs_an_identifier(sent: Any, *, allowed: bool) -> None:
    validator = schema_of({"$ref": "#/components/schemas/EventInput"})
    assert validator.is_valid(sent) is allowed


def stored_event(name: str, payload: str) -> StoredEvent:
    return StoredEvent(
        sequence=1, id=bytes(16), project_id=1, event=name, contact_id=ID, external_id=None,
        email=None, email_original=None, idempotency_key=None, occurred_us=0, received_us=0,
        source=Source.SYSTEM, api_key_id=None, request_id=None, payload=payload,
        status=Status.PROCESSED, resolved_contact_id=None, attempts=1, last_error=None,
    )  # fmt: skip


def payloads() -> dict[str, str]:
    contact = Contact(
        id=ID, project_id=1, external_id="x", email=None, email_original=None, properties={},
        created_us=0, updated_us=0,
    )  # fmt: skip
    topic = Topic(
        id=ID, project_id=1, name="News", description="", default_subscribed=False, created_us=0,
        updated_us=0,
    )  # fmt: skip
    changes: dict[str, Any] = {"properties.plan": {"from": None, "to": "pro"}}
    return {
        CONTACT_UPDATED: event_payload(contact, "merge", changes, merged_from=ID),
        TOPIC_SUBSCRIBED: topic_payload(topic, ID),
        AUDIENCE_ENTERED: audience_payload(ID, "Beta", ID),
        "event": '{"total":1}',
    }


@pytest.mark.parametrize("name", payloads())
def test_calls_of_webhooks_are_as_described(name: str) -> None:
    call = DOCUMENT["webhooks"][name]["post"]
    schema = call["requestBody"]["content"]["application/json"]["schema"]
    event = stored_event("order.completed" if name == "event" else name, payloads()[name])

    schema_of(schema).validate(json.loads(webhook_body(event)))
    assert {each["name"] for each in call["parameters"]} == {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    }


def test_the_payload_of_another_event_is_not_taken_for_it() -> None:
    schema = DOCUMENT["webhooks"][CONTACT_UPDATED]["post"]["requestBody"]["content"]
    body = json.loads(webhook_body(stored_event(TOPIC_SUBSCRIBED, "{}")))
    assert not schema_of(schema["application/json"]["schema"]).is_valid(body)


def test_the_server_is_where_it_is_reached_from_outside(client: Client) -> None:
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/"}]
    outside = ApiDocument(ROUTES, TAGS, server_url="https://events.example")
    assert outside.document["servers"] == [{"url": "https://events.example"}]


def test_headers_of_responses_are_described_as_sent(client: Client) -> None:
    sent = {"event": "a", "external_id": "x", "idempotency_key": "k"}
    client.send(sent)
    repeat = client.send({**sent, "event": "b"})
    described = OPERATIONS["ingestEvent"]["responses"]["200"]["headers"]
    assert repeat.headers["idempotency-mismatch"] == "true"
    assert {"Idempotency-Mismatch", "X-Request-Id"} <= described.keys()


def test_no_schema_is_named_after_a_module() -> None:
    """Two types with one name get the names of their modules, which generators cannot use."""
    assert [name for name in DOCUMENT["components"]["schemas"] if "." in name] == []
