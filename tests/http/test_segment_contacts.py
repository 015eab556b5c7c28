"""What messages of Segment clients do to contacts: sign-ins and aliases merge anonymous ones."""

from __future__ import annotations

import json
from typing import Any

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client


def sent(client: Client, *messages: dict[str, Any]) -> None:
    """Send messages and wait until they are processed."""
    before = len(events(client))
    answer = client.post("/v1/batch", json.dumps({"batch": messages}))
    assert answer.status == 200, answer.body
    wait_until(lambda: len(events(client)) == before + len(messages), 20)
    wait_until(lambda: all(each["status"] == "processed" for each in events(client)), 30)


def events(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/events?source=segment&limit=200").data
    return found


def contacts(client: Client) -> dict[str, dict[str, Any]]:
    return {each["external_id"]: each for each in client.get("/contacts").data}


def view(anonymous_id: str) -> dict[str, Any]:
    return {"type": "page", "anonymousId": anonymous_id, "name": "Home"}


def sign_in(user_id: str, anonymous_id: str, **traits: Any) -> dict[str, Any]:
    return {
        "type": "identify",
        "userId": user_id,
        "anonymousId": anonymous_id,
        "traits": {"plan": "pro", **traits},
    }


def texts_of_identify(client: Client) -> str:
    (event,) = client.get("/events?event=user.identified").data
    entries = client.get(f"/events/{event['id']}/trace").data["entries"]
    return "\n".join(entry["text"] for entry in entries)


def test_a_sign_in_merges_the_anonymous_contact(client: Client) -> None:
    sent(client, view("x"))
    anonymous = contacts(client)["anon:x"]
    sent(client, sign_in("u1", "x", email="u1@x.org"))
    wait_until(lambda: list(contacts(client)) == ["u1"], 20)
    contact = contacts(client)["u1"]
    assert contact["properties"] == {"plan": "pro"}
    assert len(client.get(f"/events?contact_id={contact['id']}&source=segment").data) == 2
    assert client.get("/contacts?external_id=anon%3Ax").data[0]["id"] == contact["id"]
    assert not client.get("/contacts/conflicts").data
    assert f"The anonymous contact {anonymous['id']} of the same person" in texts_of_identify(
        client
    )
    # What comes later under the anonymous id is the user's, and signing in again changes nothing.
    sent(client, view("x"), sign_in("u1", "x"))
    assert list(contacts(client)) == ["u1"]
    (merge,) = client.get("/merges").data
    assert merge["merged_by"] == "event"
    assert client.post(f"/merges/{merge['id']}/undo", "{}").status == 200
    assert set(contacts(client)) == {"u1", "anon:x"}


def test_an_alias_merges_the_anonymous_contact(client: Client) -> None:
    sent(client, view("y"))
    sent(client, {"type": "alias", "userId": "u2", "previousId": "y"})
    wait_until(lambda: list(contacts(client)) == ["u2"], 20)


def test_two_known_contacts_are_a_conflict_and_not_merged(client: Client) -> None:
    """So is an anonymous contact with an address, which is somebody."""
    mail = {"type": "identify", "anonymousId": "z", "traits": {"email": "z@x.org"}}
    sent(client, {"type": "identify", "userId": "old", "traits": {"a": 1}}, mail)
    sent(client, {"type": "alias", "userId": "new", "previousId": "old"}, sign_in("new", "z"))
    pairs = client.get("/contacts/conflicts").data
    assert {tuple(pair["fields"]) for pair in pairs} == {("external_id",)}
    assert len(pairs) == 2
    assert set(contacts(client)) == {"old", "new", "anon:z"}
    assert not client.get("/merges").data


def test_the_policy_leaves_anonymous_contacts_to_an_operator(
    server: HttpServer, project: Project
) -> None:
    server.set_policy(project, "merge_anonymous", value=False)
    client = project.client()
    sent(client, view("w"))

    def leaves_it() -> bool:
        """The worker reads policies within seconds; the first contacts may still be merged."""
        user_id = f"u{len(events(client))}"
        sent(client, view(user_id), sign_in(user_id, user_id))
        return f"anon:{user_id}" in contacts(client) and bool(
            client.get("/contacts/conflicts").data
        )

    wait_until(leaves_it, 15)


def test_members_of_other_events_merge_nobody(client: Client) -> None:
    """Only clients whose messages say so: elsewhere these are a sender's own data."""
    sent(client, view("v"))
    payload = {"anonymous_id": "v", "previous_id": "v"}
    for name in ("user.identified", "user.aliased"):
        event = {"event": name, "external_id": "u3", "payload": payload}
        assert client.send(event).status == 202
    sent(client, {"type": "track", "event": "a", "userId": "u3", "anonymousId": "v"})
    assert set(contacts(client)) == {"u3", "anon:v"}
    assert not client.get("/contacts/conflicts").data
