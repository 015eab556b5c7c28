"""`/audiences`: members enter and exit, with one event for each change."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.domain.contacts.audiences import CONTACT_IDS_MAX
from tests.support.audiences import NOBODY, ids_of, new_audience, new_contact, send
from tests.support.contacts import delete, system_events
from tests.support.http_server import HttpServer, wait_until
from tests.support.raw_http import Client


def audience_events(client: Client) -> list[tuple[str, str]]:
    """Name and contact of a system event."""
    return [
        (event["event"].rpartition(".")[2], event["payload"]["contact_id"])
        for event in system_events(client)
        if event["event"].startswith("sendrealm.audience.")
    ]


def test_an_audience_is_created_shown_changed_and_listed(client: Client) -> None:
    answer = send(client, "POST", "/audiences", name="VIP", description="Best")

    assert answer.status == 201
    shown = answer.data
    assert (shown["name"], shown["description"]) == ("VIP", "Best")
    assert set(shown) == {"id", "name", "description", "created_at", "updated_at"}
    target = f"/audiences/{shown['id']}"
    assert client.get(target).data == shown
    changed = send(client, "PATCH", target, description="")
    assert (changed.data["name"], changed.data["description"]) == ("VIP", "")
    others = [new_audience(client, f"a{number}") for number in range(4)]
    assert ids_of(client, "/audiences") == [*others[::-1], shown["id"]]


def test_contacts_enter_and_exit(client: Client) -> None:
    audience_id = new_audience(client)
    a, b, c = (new_contact(client) for _ in range(3))
    target = f"/audiences/{audience_id}/contacts"

    added = send(client, "POST", target, contact_ids=[a, b.upper(), a])
    again = send(client, "POST", target, contact_ids=[b, c])

    assert (added.status, again.status) == (200, 200)
    assert added.data == {"audience_id": audience_id, "entered": 2, "already_in": 0}
    assert again.data == {"audience_id": audience_id, "entered": 1, "already_in": 1}
    assert ids_of(client, target) == [c, b, a]
    assert client.get(target).data[0]["id"] == c
    assert client.request("DELETE", f"{target}/{b}").status == 204
    assert client.request("DELETE", f"{target}/{b}").status == 404
    assert ids_of(client, f"/contacts?audience_id={audience_id}") == [c, a]
    assert audience_events(client) == [
        ("entered", a),
        ("entered", b),
        ("entered", c),
        ("exited", b),
    ]
    assert system_events(client)[-1]["payload"] == {
        "audience_id": audience_id,
        "audience_name": "VIP",
        "contact_id": b,
    }


def test_one_absent_contact_rejects_the_batch_and_all_absent_ones_are_named(
    server: HttpServer, client: Client
) -> None:
    audience_id, contact_id = new_audience(client), new_contact(client)
    other = server.project()
    foreign = new_contact(other.client())
    target = f"/audiences/{audience_id}/contacts"

    answer = send(client, "POST", target, contact_ids=[contact_id, NOBODY, foreign])

    assert (answer.status, answer.code) == (422, "ValidationError")
    assert answer.fields == ["contact_ids[1]", "contact_ids[2]"]
    assert ids_of(client, target) == []
    assert audience_events(client) == []
    other.close()


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({}, ["contact_ids"]),
        ({"contact_ids": None}, ["contact_ids"]),
        ({"contact_ids": []}, ["contact_ids"]),
        ({"contact_ids": NOBODY}, ["contact_ids"]),
        ({"contact_ids": [NOBODY] * (CONTACT_IDS_MAX + 1)}, ["contact_ids"]),
        ({"contact_ids": ["x", 1, None]}, [f"contact_ids[{n}]" for n in range(3)]),
        ({"contact_id": [NOBODY]}, ["contact_id", "contact_ids"]),
    ],
)
def test_every_problem_of_the_ids_is_named(
    client: Client, members: dict[str, Any], fields: list[str]
) -> None:
    answer = send(client, "POST", f"/audiences/{new_audience(client)}/contacts", **members)
    assert (answer.status, answer.fields) == (422, fields)


def test_a_thousand_enter_at_once(client: Client) -> None:
    lines = b"\n".join(b'{"external_id":"u%d"}' % n for n in range(CONTACT_IDS_MAX))
    answer = client.post("/contacts/batch", lines, body_type="application/x-ndjson")
    ids = [item["data"]["id"] for item in answer.data]
    audience_id = new_audience(client)

    added = send(client, "POST", f"/audiences/{audience_id}/contacts", contact_ids=ids)

    assert added.data["entered"] == CONTACT_IDS_MAX
    page = client.get(f"/audiences/{audience_id}/contacts?limit=200")
    assert [contact["id"] for contact in page.data] == ids[::-1][:200]


def test_a_deleted_audience_disappears_at_once_and_all_members_exit(client: Client) -> None:
    audience_id = new_audience(client)
    contacts = [new_contact(client) for _ in range(3)]
    target = f"/audiences/{audience_id}"
    send(client, "POST", f"{target}/contacts", contact_ids=contacts)

    assert client.request("DELETE", target).status == 204

    assert client.request("DELETE", target).status == 404
    assert client.get(target).status == 404
    assert client.get(f"{target}/contacts").status == 404
    assert send(client, "POST", f"{target}/contacts", contact_ids=contacts).status == 404
    assert client.request("DELETE", f"{target}/contacts/{contacts[0]}").status == 404
    assert client.get(f"/contacts?audience_id={audience_id}").data == []
    new_audience(client)
    wait_until(lambda: len(audience_events(client)) == 6, 30)
    assert sorted(audience_events(client)[3:]) == sorted(("exited", each) for each in contacts)


def test_a_deleted_contact_exits(client: Client) -> None:
    audience_id, contact_id = new_audience(client), new_contact(client)
    target = f"/audiences/{audience_id}/contacts"
    send(client, "POST", target, contact_ids=[contact_id])

    delete(client, contact_id)

    assert ids_of(client, target) == []
    assert [event["event"] for event in system_events(client)][-2:] == [
        "sendrealm.audience.exited",
        "sendrealm.contact.deleted",
    ]


def test_a_name_that_is_taken_is_409(client: Client) -> None:
    new_audience(client)
    answer = send(client, "POST", "/audiences", name="VIP")
    assert (answer.status, answer.code, answer.fields) == (409, "Conflict", ["name"])


@pytest.mark.parametrize(
    "query", ["audience_id=x", "topic_id=", "search=", "search=%20", "search=%07", "serch=a"]
)
def test_an_ambiguous_filter_is_rejected(client: Client, query: str) -> None:
    assert client.get(f"/contacts?{query}").status == 422


def test_a_search_finds_by_either_identifier(client: Client) -> None:
    first = new_contact(client, external_id="anna")
    second = new_contact(client, email="Anna@x.org")
    new_contact(client, external_id="bert", email="b@x.org")
    assert ids_of(client, "/contacts?search=an") == [second, first]
    assert ids_of(client, "/contacts?search=An") == [second]


def test_a_cursor_is_of_one_search_only(client: Client) -> None:
    for number in range(3):
        new_contact(client, external_id=f"a{number}")
    cursor = client.get("/contacts?search=a&limit=1").json()["next_cursor"]
    assert client.get(f"/contacts?search=a&limit=1&cursor={cursor}").status == 200
    assert client.get(f"/contacts?search=a0&limit=1&cursor={cursor}").status == 422
