"""Erasing people over HTTP, and what remains of them in the files of a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope
from tests.support.contacts import create, listed
from tests.support.everywhere import files_with
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.people import erase, merge, processed
from tests.support.raw_http import Client

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
CANARY = "kanarienvogel"


def test_a_person_is_erased_with_a_receipt(client: Client) -> None:
    event = processed(client, external_id="x", email="x@b.example", payload={"a": 1})
    processed(client, external_id="y")
    contact_id = client.get("/contacts?external_id=x").data[0]["id"]

    receipt = erase(client, contact_id)

    assert set(receipt) == {
        "id",
        "contact_id",
        "contact_ids",
        "dry_run",
        "mask_mentions",
        "status",
        "counts",
        "mentions",
        "earlier",
        "copies_may_remain",
        "hint",
        "requested_by",
        "requested_at",
        "finished_at",
    }
    assert (receipt["contact_id"], receipt["counts"]["contacts"]) == (contact_id, 1)
    assert receipt["counts"]["events"] >= 1
    assert "x@b.example" not in json.dumps(receipt)
    assert client.get(f"/events/{event['id']}").status == 404
    assert client.get(f"/contacts/{contact_id}").status == 404
    assert client.get("/events?external_id=x").data == []
    assert len(client.get("/events?external_id=y").data) == 1
    assert client.get("/erasures").data == [receipt]


def test_asking_again_shows_the_receipt(client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    receipt = erase(client, contact_id)
    again = client.request("DELETE", f"/contacts/{contact_id}?erase=true")
    assert (again.status, again.data) == (200, receipt)


def test_the_person_is_found_by_an_id_that_was_merged(client: Client) -> None:
    own = create(client, external_id="x").data["id"]
    other = create(client, external_id="y").data["id"]
    processed(client, external_id="y")
    merge(client, own, other)
    receipt = erase(client, other)
    assert receipt["contact_id"] == own
    assert listed(client) == []
    assert client.get("/events?external_id=y").data == []


def test_later_events_are_about_somebody_new(client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    erase(client, contact_id)
    processed(client, external_id="x")
    (found,) = listed(client)
    assert found != contact_id


def test_the_idempotency_key_goes_with_its_event(client: Client) -> None:
    first = processed(client, external_id="x", idempotency_key="k")
    contact_id = listed(client)[0]
    erase(client, contact_id)
    assert client.get("/events/by-idempotency-key/k").status == 404
    assert client.send({"event": "a", "external_id": "z", "idempotency_key": "k"}).status == 202
    assert client.get(f"/events/{first['id']}/trace").status == 404


def test_an_unknown_person_is_not_found(server: HttpServer, client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    assert client.request("DELETE", f"/contacts/{NOBODY}?erase=true").status == 404
    assert client.get(f"/erasures/{NOBODY}").status == 404
    stranger = server.project()
    try:
        theirs = stranger.client()
        assert theirs.request("DELETE", f"/contacts/{contact_id}?erase=true").status == 404
        receipt = erase(client, contact_id)
        assert theirs.get(f"/erasures/{receipt['id']}").status == 404
        assert theirs.get("/erasures").data == []
    finally:
        stranger.close()


@pytest.mark.parametrize("named", [False, True])
def test_what_another_project_keeps_about_an_id_is_neither_shown_nor_erased(
    server: HttpServer, client: Client, named: bool
) -> None:
    """Not even if an event of one's own names the id."""
    stranger = server.project()
    try:
        theirs = stranger.client()
        contact_id = create(theirs, external_id="x", email="x@b.example").data["id"]
        other_id = create(theirs, external_id="y").data["id"]
        merge(theirs, contact_id, other_id)
        mail = {"from": "news@b.example", "to": ["x@b.example"], "subject": CANARY, "text": "a"}
        assert theirs.post("/emails", json.dumps(mail)).status == 201
        before = [theirs.get(path).data for path in ("/messages", "/merges")]
        if named:
            processed(client, contact_id=contact_id)
            shown = client.get(f"/contacts/{contact_id}/export").json()
            assert CANARY not in json.dumps(shown)
            assert other_id not in json.dumps(shown)
            erase(client, contact_id)
        else:
            assert client.get(f"/contacts/{contact_id}/export").status == 404
            assert client.request("DELETE", f"/contacts/{contact_id}?erase=true").status == 404
        after = [theirs.get(path).data for path in ("/messages", "/merges")]
        assert [[one["id"] for one in each] for each in after] == [
            [one["id"] for one in each] for each in before
        ]
        assert len(before[0]) == len(before[1]) == 1
    finally:
        stranger.close()


def friends(client: Client, name: str) -> list[dict[str, Any]]:
    """Events of other people, two of which mention the person."""
    email = f"{name}@b.example"
    return [
        processed(
            client,
            external_id="friend",
            idempotency_key=f"invite-{email}",
            payload={"to": [email, "other@b.example"], "note": f"Ask {name}-1."},
        ),
        processed(client, external_id="friend", payload={email.upper(): {"n": 1.50}}),
        processed(client, external_id="friend", payload={"to": "other@b.example"}),
    ]


def test_a_dry_run_changes_nothing_and_reports_what_would_be_removed(client: Client) -> None:
    email = f"{CANARY}@b.example"
    contact_id = create(client, external_id=f"{CANARY}-1", email=email).data["id"]
    processed(client, external_id=f"{CANARY}-1", payload={"a": 1})
    events = friends(client, CANARY)

    found = erase(client, contact_id, "dry_run=true&mask_mentions=true")

    assert (found["dry_run"], found["status"]) == (True, "done")
    assert [each["event_id"] for each in found["mentions"]["listed"]] == [
        event["id"] for event in events[:2]
    ]
    assert found["mentions"]["listed"][0]["places"] == [
        "idempotency_key",
        "payload.to[0]",
        "payload.note",
    ]
    assert (found["mentions"]["events"], found["mentions"]["masked"]) == (2, 0)
    assert CANARY not in json.dumps(found)
    assert client.get(f"/contacts/{contact_id}").status == 200
    assert client.get(f"/events/{events[0]['id']}").data["payload"] == events[0]["payload"]
    assert client.get("/erasures").data == []

    receipt = erase(client, contact_id)
    same = {name for name in found["counts"] if name in receipt["counts"]}
    assert {"contacts", "events"} <= same
    assert {name: found["counts"][name] for name in same} == {
        name: receipt["counts"][name] for name in same
    }
    assert receipt["mentions"]["listed"] == found["mentions"]["listed"]
    assert client.get(f"/events/{events[0]['id']}").data["payload"] == events[0]["payload"]


def test_mentions_are_masked_on_request(client: Client) -> None:
    email = f"{CANARY}@b.example"
    contact_id = create(client, external_id=f"{CANARY}-1", email=email).data["id"]
    events = friends(client, CANARY)

    receipt = erase(client, contact_id, "mask_mentions=true")

    assert (receipt["mentions"]["events"], receipt["mentions"]["masked"]) == (2, 2)
    shown = [client.get(f"/events/{event['id']}") for event in events]
    assert shown[0].data["payload"] == {
        "to": ["[erased]", "other@b.example"],
        "note": "Ask [erased].",
    }
    assert shown[0].data["idempotency_key"] == "invite-[erased]"
    assert shown[1].data["payload"] == {"[erased]": {"n": 1.5}}
    assert shown[2].data["payload"] == {"to": "other@b.example"}
    # The key is unchanged: a repeat finds its event.
    again = client.send(
        {
            "event": "order.completed",
            "external_id": "friend",
            "idempotency_key": f"invite-{email}",
        }
    )
    assert (again.status, again.data["id"]) == (200, events[0]["id"])


@pytest.mark.parametrize("query", ["dry_run=true", "mask_mentions=true&erase=false"])
def test_invalid_options_of_an_erasure_delete_nothing(client: Client, query: str) -> None:
    contact_id = create(client, external_id="x").data["id"]
    assert client.request("DELETE", f"/contacts/{contact_id}?{query}").status == 422
    assert listed(client) == [contact_id]


def test_an_erasure_by_a_merged_id_lists_both(client: Client) -> None:
    own = create(client, external_id="x").data["id"]
    other = create(client, external_id="y").data["id"]
    merge(client, own, other)
    first = erase(client, own)
    processed(client, contact_id=other, email=f"{CANARY}@b.example")
    second = erase(client, other)
    assert [each["id"] for each in second["earlier"]] == [first["id"]]
    assert {*second["contact_ids"]} == {own, other}
    assert client.get("/events?event=order.completed").data == []


@pytest.mark.parametrize("query", ["erase=yes", "erase=", "erase=true&erase=true", "eraze=true"])
def test_an_ambiguous_request_erases_nothing(client: Client, query: str) -> None:
    contact_id = create(client, external_id="x").data["id"]
    assert client.request("DELETE", f"/contacts/{contact_id}?{query}").status == 422
    assert listed(client) == [contact_id]


def test_erase_false_is_a_plain_delete(client: Client) -> None:
    processed(client, external_id="x")
    (contact_id,) = listed(client)
    assert client.request("DELETE", f"/contacts/{contact_id}?erase=false").status == 204
    assert len(client.get("/events?external_id=x").data) == 1


def test_a_reader_erases_nobody(server: HttpServer, project: Project, client: Client) -> None:
    contact_id = create(client, external_id="x").data["id"]
    reader = project.client(server.issue_key(project, {Scope.READ}))
    wait_until(lambda: reader.get("/erasures").status == 200, 10)
    assert reader.request("DELETE", f"/contacts/{contact_id}?erase=true").status == 403
    assert listed(client) == [contact_id]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[HttpServer]:
    """A server with its own files and log."""
    server = HttpServer(tmp_path)
    server.start(projects=2)
    yield server
    assert server.stop() == 0


def live(client: Client, name: str) -> str:
    """Leave traces in every place a caller can write to; returns the contact's id."""
    email = f"{name}@b.example"
    said: dict[str, Any] = {"external_id": f"{name}-1", "email": email}
    contact_id: str = create(
        client, **said, properties={"name": name, "tags": [name], "long": name * 300}
    ).data["id"]
    twin = create(client, external_id=f"{name}-2", properties={"old": name}).data["id"]
    merge(client, contact_id, twin)
    for n in range(40):
        client.send(
            {
                "event": "order.completed",
                **said,
                "idempotency_key": f"{name}-{n}",
                "payload": {"secret": name * (1 + 40 * n), "$set": {f"p{n}": name}},
            }
        )
    client.send({"event": "order.completed", **said, "idempotency_key": f"{name}-1"})
    client.request("POST", f"/events/by-idempotency-key/{email}")
    client.send({"event": "order.completed", f"{name}-1": 1, "external_id": "x"})
    create(client, external_id=f"{name}-1")
    processed(client, external_id=f"{name}-2", payload={"$set": {email: name}})
    processed(client, contact_id=twin)
    return contact_id


def test_no_byte_is_left_in_files_or_log(own_server: HttpServer) -> None:
    project, neighbour = own_server.project(), own_server.project()
    client = project.client()
    try:
        for n in range(30):
            other = {"event": "a.b", "external_id": f"other-{n}", "payload": {"n": "x" * 50 * n}}
            client.send(other)
        contact_id = live(client, CANARY)
        live(neighbour.client(), "nachbar")
        assert files_with(own_server.directory, CANARY) != []

        friends(client, CANARY)

        receipt = erase(client, contact_id, "mask_mentions=true")

        assert files_with(own_server.directory, CANARY) == []
        assert files_with(own_server.directory, CANARY.upper()) == []
        assert receipt["mentions"]["masked"] == 2
        assert files_with(own_server.directory, "nachbar") != []
        assert receipt["counts"]["events"] > 40
        assert receipt["counts"]["rejections"] >= 1
        assert CANARY not in client.get("/rejections?limit=200").body.decode()
    finally:
        project.close()
        neighbour.close()
