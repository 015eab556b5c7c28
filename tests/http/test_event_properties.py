"""Properties written by events, invalid identifiers, and writes with their own time."""

from __future__ import annotations

import pytest

from tests.support.contacts import create, listed, patch, system_events
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.people import entries, processed
from tests.support.raw_http import Client

OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def test_an_event_writes_properties(client: Client) -> None:
    event = processed(client, external_id="x", payload={"$set": {"plan": "pro", "tags": ["a"]}})

    (contact_id,) = listed(client)
    shown = client.get(f"/contacts/{contact_id}").data
    assert shown["properties"] == {"plan": "pro", "tags": ["a"]}
    (written,) = entries(client, event, "properties_written")
    assert written["text"] == "Properties were written: plan, tags."
    assert event["payload"] == {"$set": {"plan": "pro", "tags": ["a"]}}


def test_the_losing_value_is_shown_on_the_trace(client: Client) -> None:
    """The latest `occurred_at` wins, whatever the order of receipt."""
    processed(client, external_id="x", occurred_at=NEW, payload={"$set": {"plan": "pro"}})
    late = processed(client, external_id="x", occurred_at=OLD, payload={"$set": {"plan": "free"}})

    assert client.get(f"/contacts/{listed(client)[0]}").data["properties"] == {"plan": "pro"}
    (kept,) = entries(client, late, "value_kept")
    assert (kept["field"], kept["since"]) == ("properties.plan", "2026-02-01T00:00:00.000Z")
    updates = [e for e in system_events(client) if e["event"].endswith("updated")]
    assert updates == []


def test_what_cannot_be_a_property_never_fails_the_event(client: Client) -> None:
    event = processed(client, external_id="x", payload={"$set": {"a": {"b": 1}, "c": 1}})
    (ignored,) = entries(client, event, "property_ignored")
    assert ignored["field"] == "properties.a"
    assert client.get(f"/contacts/{listed(client)[0]}").data["properties"] == {"c": 1}


def test_a_write_says_when_it_became_so(client: Client) -> None:
    contact_id = create(client, external_id="x", occurred_at=NEW, properties={"a": 1}).data["id"]

    older = patch(client, contact_id, occurred_at=OLD, properties={"a": 2, "b": 2})
    newer = patch(client, contact_id, properties={"a": 3})

    assert older.data["properties"] == {"a": 1, "b": 2}
    assert newer.data["properties"] == {"a": 3, "b": 2}


def test_an_event_never_overrules_a_later_request(client: Client) -> None:
    contact_id = create(client, external_id="x", properties={"a": 1}).data["id"]
    processed(client, external_id="x", occurred_at=OLD, payload={"$set": {"a": 2}})
    assert client.get(f"/contacts/{contact_id}").data["properties"] == {"a": 1}


def test_a_cleared_address_is_not_filled_by_an_older_event(client: Client) -> None:
    contact_id = create(client, external_id="x", email="a@b.example").data["id"]
    patch(client, contact_id, email=None)
    late = processed(client, external_id="x", email="a@b.example", occurred_at=OLD)
    assert client.get(f"/contacts/{contact_id}").data["email"] is None
    (kept,) = entries(client, late, "value_kept")
    assert kept["field"] == "email"


@pytest.mark.parametrize("text", ["yesterday", "", "2026-01-01"])
def test_an_invalid_time_is_rejected(client: Client, text: str) -> None:
    answer = create(client, external_id="x", occurred_at=text)
    assert (answer.status, answer.fields) == (422, ["occurred_at"])


def test_a_placeholder_resolves_to_no_contact(client: Client) -> None:
    first = processed(client, external_id="null")
    second = processed(client, external_id="undefined", email="a@b.example")

    (contact_id,) = listed(client)
    assert (first["contact_id"], second["contact_id"]) == (None, contact_id)
    assert client.get(f"/contacts/{contact_id}").data["external_id"] is None
    (resolved,) = entries(client, first, "identity_resolved")
    assert resolved["reason"] == "placeholder_identifier"
    assert [e["field"] for e in entries(client, second, "placeholder_ignored")] == ["external_id"]


def test_upsert_by_a_placeholder_is_rejected(client: Client) -> None:
    answer = create(client, "?upsert=true", external_id="anonymous", email="a@b.example")
    assert (answer.status, answer.fields) == (422, ["external_id"])
    assert create(client, external_id="anonymous").status == 201


def test_a_project_has_words_of_its_own(
    server: HttpServer, project: Project, client: Client
) -> None:
    server.set_policy(project, "placeholder_identifiers", "house, !test")

    def in_force() -> bool:
        return create(client, "?upsert=true", external_id="house").status == 422

    wait_until(in_force, 10)
    numbers = iter(range(1000))
    wait_until(
        lambda: (
            processed(client, external_id="test", payload={"n": next(numbers)})["contact_id"]
            is not None
        ),
        20,
    )
    assert processed(client, external_id="house")["contact_id"] is None


def test_an_event_changes_the_address(client: Client) -> None:
    contact_id = create(client, external_id="x", email="old@b.example").data["id"]
    payload = {"$set": {"email": "New@B.example", "plan": "pro"}}
    event = processed(client, external_id="x", payload=payload)

    shown = client.get(f"/contacts/{contact_id}").data
    assert (shown["email"], shown["properties"]) == ("New@B.example", {"plan": "pro"})
    (changed,) = entries(client, event, "contact_changed")
    assert (changed["field"], changed["contact_id"]) == ("email", contact_id)
    assert [listed(client, f"email={name}@b.example") for name in ("old", "new")] == [
        [],
        [contact_id],
    ]


def test_an_address_of_another_contact_is_a_conflict(client: Client) -> None:
    other = create(client, email="a@b.example").data["id"]
    event = processed(client, external_id="x", payload={"$set": {"email": "a@b.example"}})
    (conflict,) = entries(client, event, "identity_conflict")
    assert conflict["other_contact_id"] == other
    (pair,) = client.get("/contacts/conflicts").data
    assert (pair["fields"], pair["other_contact_id"]) == (["email"], other)


def test_an_unknown_external_id_joins_the_contact_of_the_address(client: Client) -> None:
    contact_id = create(client, email="a@b.example").data["id"]
    event = processed(client, external_id="x", email="a@b.example")
    assert event["contact_id"] == contact_id
    (resolved,) = entries(client, event, "identity_resolved")
    assert (resolved["reason"], resolved["field"]) == ("linked", "email")
    (filled,) = entries(client, event, "contact_filled")
    assert filled["field"] == "external_id"
