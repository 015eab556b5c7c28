"""`/topics` and subscriptions: exact responses, and rejections."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from tests.support.audiences import (
    NOBODY,
    choose,
    ids_of,
    new_contact,
    new_topic,
    send,
)
from tests.support.contacts import system_events
from tests.support.http_server import HttpServer
from tests.support.raw_http import Client

MILLISECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_topic_is_created_shown_changed_and_deleted(client: Client) -> None:
    answer = send(client, "POST", "/topics", name=" News ", description="Weekly.\nAll of it.")

    assert answer.status == 201
    shown = answer.data
    assert {name: shown[name] for name in ("name", "description", "default_subscribed")} == {
        "name": "News",
        "description": "Weekly.\nAll of it.",
        "default_subscribed": False,
    }
    target = f"/topics/{shown['id']}"
    assert client.get(target).data == shown
    changed = send(client, "PATCH", target, default_subscribed=True, name=None)
    assert (changed.status, changed.data["default_subscribed"]) == (200, True)
    assert changed.data["name"] == "News"
    assert client.request("DELETE", target).status == 204
    assert client.request("DELETE", target).status == 404
    assert client.get(target).status == 404
    assert send(client, "PATCH", target, name="Old").status == 404
    assert client.get("/topics").data == []


def test_topics_are_listed_newest_first(client: Client) -> None:
    made = [new_topic(client, f"t{number}") for number in range(5)]
    assert ids_of(client, "/topics") == made[::-1]


def test_a_choice_is_returned_unchanged(client: Client) -> None:
    contact_id, topic_id = new_contact(client), new_topic(client)

    subscribed = choose(client, contact_id, topic_id, wanted=True)
    unsubscribed = choose(client, contact_id, topic_id, wanted=False)

    assert (subscribed.status, unsubscribed.status) == (200, 200)
    first, second = subscribed.data, unsubscribed.data
    assert set(first) == {
        "id",
        "contact_id",
        "topic_id",
        "is_subscribed",
        "subscribed_at",
        "unsubscribed_at",
    }
    assert str(uuid.UUID(first["id"])) == first["id"]
    assert second["id"] == first["id"]
    assert (first["contact_id"], first["topic_id"]) == (contact_id, topic_id)
    assert (first["is_subscribed"], first["unsubscribed_at"]) == (True, None)
    assert MILLISECONDS.fullmatch(first["subscribed_at"])
    assert (second["is_subscribed"], second["subscribed_at"]) == (False, None)
    assert MILLISECONDS.fullmatch(second["unsubscribed_at"])
    names = [event["event"] for event in system_events(client)]
    assert names[1:] == ["sendrealm.topic.subscribed", "sendrealm.topic.unsubscribed"]
    assert system_events(client)[1]["payload"] == {
        "topic_id": topic_id,
        "topic_name": "News",
        "contact_id": contact_id,
    }


def test_choosing_again_changes_nothing(client: Client) -> None:
    contact_id, topic_id = new_contact(client), new_topic(client)
    first = choose(client, contact_id, topic_id, wanted=True).data
    assert choose(client, contact_id, topic_id, wanted=True).data == first
    assert len(system_events(client)) == 2


def test_a_contact_is_shown_every_topic(client: Client) -> None:
    contact_id = new_contact(client)
    for number in range(3):
        new_topic(client, f"t{number}", default_subscribed=number == 1)
    target = f"/contacts/{contact_id}/topics"

    shown = client.get(target).data

    assert [(each["topic_name"], each["is_subscribed"]) for each in shown] == [
        ("t2", False),
        ("t1", True),
        ("t0", False),
    ]
    assert {each["subscribed_at"] for each in shown} == {None}
    assert ids_of(client, target) == [each["id"] for each in shown]
    chosen = choose(client, contact_id, shown[0]["topic_id"], wanted=True).data
    assert client.get(target).data[0] == {**chosen, "topic_name": "t2"}


def test_unsubscribing_from_everything(client: Client) -> None:
    contact_id = new_contact(client)
    for number in range(3):
        new_topic(client, f"t{number}", default_subscribed=number > 0)
    target = f"/contacts/{contact_id}/topics"

    answer = send(client, "PUT", target, is_subscribed=False)
    again = send(client, "PUT", target, is_subscribed=False)
    new_topic(client, "later", default_subscribed=True)

    assert answer.status == 200
    shown = dict(answer.data)
    assert MILLISECONDS.fullmatch(shown.pop("unsubscribed_at"))
    assert shown == {"contact_id": contact_id, "is_subscribed": False, "changed": 2}
    assert again.data["changed"] == 0
    listed = client.get(target).data
    assert [each["is_subscribed"] for each in listed] == [False] * 4
    names = [event["event"] for event in system_events(client)]
    assert names[1:] == ["sendrealm.topic.unsubscribed"] * 2


def test_subscribing_to_everything_is_rejected(client: Client) -> None:
    contact_id = new_contact(client)
    answer = send(client, "PUT", f"/contacts/{contact_id}/topics", is_subscribed=True)
    assert (answer.status, answer.fields) == (422, ["is_subscribed"])


def test_a_name_that_is_taken_is_409(client: Client) -> None:
    new_topic(client, "News")
    other = new_topic(client, "Offers")
    for answer in (
        send(client, "POST", "/topics", name="News "),
        send(client, "PATCH", f"/topics/{other}", name="News"),
    ):
        assert (answer.status, answer.code, answer.fields) == (409, "Conflict", ["name"])
    assert send(client, "PATCH", f"/topics/{other}", name="Offers").status == 200


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": "  "}, ["name"]),
        ({"name": "x" * 101}, ["name"]),
        ({"name": "a\x07"}, ["name"]),
        ({"name": 1, "description": []}, ["name", "description"]),
        ({"name": "a", "description": "x" * 501}, ["description"]),
        ({"name": "a", "default_subscribed": "true"}, ["default_subscribed"]),
        ({"name": "a", "default_subscribe": True}, ["default_subscribe"]),
        ({"name": "a\ud800"}, ["name"]),
    ],
)
def test_every_problem_of_a_topic_is_named(
    client: Client, members: dict[str, Any], fields: list[str]
) -> None:
    answer = send(client, "POST", "/topics", **members)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert answer.fields == fields
    assert client.get("/topics").data == []


def test_a_mistyped_field_is_reported_with_the_nearest_known_one(client: Client) -> None:
    answer = send(client, "POST", "/topics", name="a", default_subscribe=True)
    assert "did you mean default_subscribed?" in answer.json()["error"]["message"]


@pytest.mark.parametrize("value", [None, 1, "true", [], {}])
def test_a_choice_is_true_or_false(client: Client, value: Any) -> None:
    contact_id, topic_id = new_contact(client), new_topic(client)
    for target in (f"/contacts/{contact_id}/topics/{topic_id}", f"/contacts/{contact_id}/topics"):
        answer = send(client, "PUT", target, is_subscribed=value)
        assert (answer.status, answer.fields) == (422, ["is_subscribed"])


def test_absent_contacts_and_topics_are_404(server: HttpServer, client: Client) -> None:
    contact_id, topic_id = new_contact(client), new_topic(client)
    other = server.project()
    stranger = other.client()
    foreign_contact, foreign_topic = new_contact(stranger), new_topic(stranger)

    for contact, topic in (
        (NOBODY, topic_id),
        (contact_id, NOBODY),
        (foreign_contact, topic_id),
        (contact_id, foreign_topic),
        ("x", topic_id),
        (contact_id, "x"),
    ):
        assert choose(client, contact, topic, wanted=True).status == 404
    for contact in (NOBODY, foreign_contact, "x"):
        assert client.get(f"/contacts/{contact}/topics").status == 404
        assert send(client, "PUT", f"/contacts/{contact}/topics", is_subscribed=False).status == 404
    other.close()


def test_contacts_are_listed_by_topic(client: Client) -> None:
    first, second, third = (new_contact(client) for _ in range(3))
    topic_id = new_topic(client, default_subscribed=True)
    choose(client, second, topic_id, wanted=False)
    assert ids_of(client, f"/contacts?topic_id={topic_id}") == [third, first]
    send(client, "PATCH", f"/topics/{topic_id}", default_subscribed=False)
    choose(client, second, topic_id, wanted=True)
    assert ids_of(client, f"/contacts?topic_id={topic_id}") == [second]
