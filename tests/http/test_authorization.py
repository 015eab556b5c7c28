"""Authorization of every route, generated from the route table so that none is forgotten."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope, allows
from headrace.domain.ids import sequence_of_id
from headrace.domain.timestamps import now_us
from headrace.http.table import ROUTES
from tests.support.audiences import choose, new_audience, new_contact, new_topic, send
from tests.support.dead_letters import rows_of_server
from tests.support.described_routes import Operation, operations
from tests.support.http_server import ACTOR, HttpServer, wait_until
from tests.support.push import Phone, new_app
from tests.support.raw_http import Client, Connection, Response, head_of

OPERATIONS = list(operations(ROUTES))
#: Of an operation with the key in its path, tests of its own check access.
KEYED = [
    each
    for each in OPERATIONS
    if not each.is_public and not each.is_for_operators and not each.route.access.is_in_path
]
WITH_IDS = [each for each in KEYED if each.parameters]
#: The id of nothing: a hidden resource must look like an absent one.
ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
LISTS = ("/contacts", "/topics", "/audiences", "/webhooks", "/dead-letters", "/replays", "/merges")
MAIL_LISTS = ("/domains", "/templates", "/suppressions", "/automations", "/push/apps")

Place = tuple[str, str]

#: Parameters with the same value in both projects.
NO_IDS = {
    *(("events", "key"), ("catalog", "event"), ("templates", "number")),
    *(("automations", "number"), ("automations", "other")),
}
#: Its run waits for ever, as far as a test is concerned.
DEFINITION = {
    "trigger": {"event_name": "a.b"},
    "steps": [{"key": "s", "type": "delay", "config": {"duration": "300 days"}}],
    "connections": [{"from": "trigger", "to": "s"}],
}


class Inhabitant:
    """A project with one of everything that has an id.

    A path parameter without an entry fails the tests: add the value a foreign one would have.
    """

    def __init__(self, server: HttpServer) -> None:
        self.project = server.project()
        self.client = self.project.client()
        self._rows = rows_of_server(server.directory)
        self.ids = self._make()

    def _make(self) -> dict[Place, str]:
        client = self.client
        body = {"name": "Wait", "definition": DEFINITION}
        automation_id = send(client, "POST", "/automations", **body).data["id"]
        assert client.request("POST", f"/automations/{automation_id}/publish").status == 200
        event_id = client.send({"event": "a.b", "external_id": "x", "idempotency_key": "k"}).data[
            "id"
        ]
        wait_until(lambda: client.get(f"/events/{event_id}").data["status"] == "processed", 30)
        runs = f"/automations/{automation_id}/runs"
        wait_until(lambda: bool(client.get(runs).data), 30)
        contact_id, topic_id = new_contact(client), new_topic(client)
        audience_id = new_audience(client)
        send(client, "POST", f"/audiences/{audience_id}/contacts", contact_ids=[contact_id])
        choose(client, contact_id, topic_id, wanted=True)
        merge = {"from": new_contact(client), "dry_run": False}
        merged = client.post(f"/contacts/{contact_id}/merge", json.dumps(merge)).data
        erased = client.request("DELETE", f"/contacts/{new_contact(client)}?erase=true").data
        replay = send(client, "POST", "/dead-letters/replay", filter={}, dry_run=False).data
        dead_letter_id = self._rows.processing(sequence_of_id(uuid.UUID(event_id).bytes))
        draft = {"subject_template": "Hi", "rendered_text": "Hello"}
        template = send(client, "POST", "/templates", name="Welcome", channel="email", **draft)
        client.request("POST", f"/templates/{template.data['id']}/publish")
        address = {"email": "mike@b.example"}
        email = {"from": "news@example.org", "to": ["mike@b.example"], "subject": "a", "text": "b"}
        many = {**email, "audiences": [audience_id], "topic_id": topic_id, "kind": "marketing"}
        del many["to"]
        sent = send(client, "POST", "/emails", **email).data
        app_id = new_app(client)["id"]
        phone = Phone(Client(self.project.port, None), app_id)
        self.project.clients.append(phone.client)
        assert phone.send("init").status == 200
        text = {"title": "a", "body": "b"}
        push = {"app_id": app_id, "contact_ids": [contact_id], "notification": text}
        webhook_id = self._rows.subscriber(self.project.id, target="http://a/", events=["z.z"])
        return {
            ("events", "id"): event_id,
            ("events", "key"): "k",
            ("contacts", "id"): contact_id,
            ("contacts", "contact_id"): contact_id,
            ("contacts", "topic_id"): topic_id,
            ("topics", "id"): topic_id,
            ("audiences", "id"): audience_id,
            ("audiences", "contact_id"): contact_id,
            ("merges", "id"): merged["id"],
            ("erasures", "id"): erased["id"],
            ("catalog", "event"): "a.b",
            ("dead-letters", "id"): dead_letter_id,
            ("replays", "id"): replay["id"],
            ("webhooks", "id"): webhook_id,
            ("push", "app_id"): app_id,
            ("push", "device_id"): phone.device_id,
            ("push", "id"): send(client, "POST", "/push/notifications", **push).data["id"],
            ("domains", "id"): send(client, "POST", "/domains", name="example.org").data["id"],
            ("emails", "id"): sent["id"],
            ("messages", "id"): sent["messages"][0]["id"],
            ("send-jobs", "id"): send(client, "POST", "/emails", **many).data["id"],
            ("templates", "id"): template.data["id"],
            ("templates", "number"): "1",
            ("automations", "id"): automation_id,
            ("automations", "number"): "1",
            ("automations", "other"): "1",
            ("automation-runs", "id"): client.get(runs).data[0]["id"],
            ("suppressions", "id"): send(client, "POST", "/suppressions", **address).data["id"],
            ("mail", "id"): client.post(
                "/mail/bounces", f"{self.project.id}", body_type="message/rfc822"
            ).data["notification"]["id"],
        }

    def everything(self) -> dict[str, Any]:
        """Everything that requests of others could have changed."""
        contact_id = self.ids["contacts", "id"]
        audience_id = self.ids["audiences", "id"]
        paths = (
            *LISTS,
            *MAIL_LISTS,
            f"/contacts/{contact_id}/topics",
            f"/push/devices?app_id={self.ids['push', 'app_id']}",
            f"/audiences/{audience_id}/contacts",
        )
        return {path: self.client.get(path).json() for path in paths}


@pytest.fixture(scope="module")
def owner(server: HttpServer) -> Iterator[Inhabitant]:
    inhabitant = Inhabitant(server)
    yield inhabitant
    inhabitant.project.close()


@pytest.fixture(scope="module")
def stranger(server: HttpServer) -> Iterator[Inhabitant]:
    """A client with the same rights, in a project of its own."""
    inhabitant = Inhabitant(server)
    yield inhabitant
    inhabitant.project.close()


@pytest.fixture(scope="module")
def keys(server: HttpServer, owner: Inhabitant) -> dict[str, str]:
    """A key of each scope, a key without scopes, and text that is no key."""
    made = {scope.value: server.issue_key(owner.project, [scope]) for scope in Scope}
    revoked = server.issue_key(owner.project)
    server.in_store(
        lambda store: store.projects.revoke_key(revoked.split("_")[1], now_us(), actor=ACTOR)
    )
    known = Client(server.port, made["read"])
    wait_until(lambda: known.get("/events").status == 200, 10)
    known.close()
    return made | {"revoked": revoked, "unknown": f"hr_{'0' * 16}_{'0' * 64}"}


def ask(port: int, operation: Operation, target: str, key: str | None) -> int:
    """Status of the response; the body, which may be endless, is not read."""
    body, media = operation.body()
    length = None if body is None else len(body)
    head = head_of(operation.method, target, key=key, length=length, body_type=media)
    with Connection(port) as connection:
        connection.send_all_accepted(head + (body or b""))
        return connection.head().status


def answer_of(client: Client, operation: Operation, target: str) -> Response:
    body, media = operation.body()
    return client.request(operation.method, target, body=body, body_type=media)


@pytest.mark.parametrize("operation", KEYED, ids=str)
def test_without_a_good_key_nothing_opens(
    server: HttpServer, owner: Inhabitant, keys: dict[str, str], operation: Operation
) -> None:
    target = operation.target(owner.ids)
    for key in (None, keys["unknown"], keys["revoked"]):
        assert ask(server.port, operation, target, key) == 401


@pytest.mark.parametrize("operation", KEYED, ids=str)
def test_one_scope_opens_it_and_no_other(
    server: HttpServer, owner: Inhabitant, keys: dict[str, str], operation: Operation
) -> None:
    # Nothing that later tests need is changed: the ids do not exist.
    target = operation.target(dict.fromkeys(owner.ids, ABSENT))
    for scope in Scope:
        status = ask(server.port, operation, target, keys[scope.value])
        if allows(frozenset({scope}), operation.scope):
            assert status < 500
            assert status not in (401, 403)
        else:
            assert status == 403


@pytest.mark.parametrize("operation", WITH_IDS, ids=str)
def test_what_is_foreign_is_as_good_as_absent(
    owner: Inhabitant, stranger: Inhabitant, operation: Operation
) -> None:
    """One foreign id is enough for a rejection, even if all others are the caller's own."""
    for place in operation.parameters:
        own = dict(owner.ids)
        if place in NO_IDS:
            continue
        foreign = answer_of(owner.client, operation, operation.target(own | _of(stranger, place)))
        absent = answer_of(owner.client, operation, operation.target(own | {place: ABSENT}))
        assert (foreign.status, absent.status) == (404, 404)
        assert foreign.body == absent.body


def _of(inhabitant: Inhabitant, place: Place) -> dict[Place, str]:
    return {place: inhabitant.ids[place]}


def test_a_foreign_key_or_name_finds_only_ones_own(owner: Inhabitant, stranger: Inhabitant) -> None:
    """The same idempotency key and event name, in both projects."""
    found = owner.client.get("/events/by-idempotency-key/k").data["id"]
    assert found == owner.ids["events", "id"]
    assert found != stranger.ids["events", "id"]
    stranger.client.send({"event": "only.theirs", "external_id": "x", "idempotency_key": "theirs"})
    for target in ("/events/by-idempotency-key/theirs", "/catalog/only.theirs"):
        assert owner.client.get(target).status == 404


def test_strangers_change_nothing(owner: Inhabitant, stranger: Inhabitant) -> None:
    before = owner.everything()
    for operation in WITH_IDS:
        answer_of(stranger.client, operation, operation.target(owner.ids))
    assert owner.everything() == before


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.is_for_operators], ids=str
)
def test_no_api_key_grants_operator_access(
    server: HttpServer, owner: Inhabitant, operation: Operation
) -> None:
    target = operation.target(dict.fromkeys(operation.parameters, ABSENT))
    for key in (None, owner.project.key):
        assert ask(server.port, operation, target, key) == 401


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.is_public], ids=str)
def test_public_routes_ask_for_no_key(server: HttpServer, operation: Operation) -> None:
    # A token that was never issued is not found, for any caller.
    target = operation.target(dict.fromkeys(operation.parameters, "x"))
    # The app of an example does not exist, either.
    is_client = operation.path.startswith("/v1/")
    opened = (200, 404) if operation.parameters or is_client else (200, 307)
    if operation.path.startswith("/mail/webhooks/"):
        # Verified by themselves, and not there for a provider that is not set up.
        opened = (403, 404)
    assert ask(server.port, operation, target, None) in opened
