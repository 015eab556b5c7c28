"""`GET /contacts/{id}/export`: authorization and completeness."""

from __future__ import annotations

import json

from headrace.domain.access.api_keys import Scope
from tests.support.contacts import create
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.people import erase, merge, processed
from tests.support.raw_http import Client

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def test_everything_about_a_person_is_one_document(client: Client) -> None:
    own = create(client, external_id="x", email="X@b.example", properties={"n": 1.5}).data["id"]
    other = create(client, external_id="y").data["id"]
    merge(client, own, other)
    for n in range(60):
        client.send({"event": "a.b", "external_id": "y", "payload": {"n": n}})
    last = processed(client, external_id="x", payload={"text": "</script>\n"})
    friend = processed(client, external_id="friend", payload={"to": "x@b.example"})

    answer = client.get(f"/contacts/{other}/export")

    assert answer.status == 200
    found = json.loads(answer.body)["data"]
    assert answer.data == found
    assert (found["contact"]["id"], found["contact"]["email"]) == (own, "X@b.example")
    assert {*found["contact_ids"]} == {own, other}
    customer = [event for event in found["events"] if event["source"] != "system"]
    assert [event["payload"] for event in customer[:-1]] == [{"n": n} for n in range(60)]
    assert customer[-1]["id"] == last["id"]
    assert [each["event_id"] for each in found["mentions"]] == [friend["id"]]
    assert len(found["events"]) == found["counts"]["events"]
    assert "mentions" not in client.get(f"/contacts/{own}/export?mentions=false").data
    assert client.get(f"/contacts/{own}/export?mentions=perhaps").status == 422
    assert client.get(f"/contacts/{own}/export?x=1").status == 422


def test_readers_may_export_and_strangers_get_404(
    server: HttpServer, project: Project, client: Client
) -> None:
    contact_id = create(client, external_id="x").data["id"]
    reader = project.client(server.issue_key(project, {Scope.READ}))
    sender = project.client(server.issue_key(project, {Scope.INGEST}))
    wait_until(lambda: reader.get(f"/contacts/{contact_id}/export").status == 200, 10)
    assert sender.get(f"/contacts/{contact_id}/export").status == 403
    assert client.get(f"/contacts/{NOBODY}/export").status == 404
    stranger = server.project()
    try:
        assert stranger.client().get(f"/contacts/{contact_id}/export").status == 404
    finally:
        stranger.close()


def test_after_an_erasure_only_the_receipt_is_left(client: Client) -> None:
    contact_id = create(client, external_id="x", email="x@b.example").data["id"]
    receipt = erase(client, contact_id)
    # The last system event: the contact was deleted.
    found = client.get(f"/contacts/{contact_id}/export").data
    assert found["contact"] is None
    assert [each["id"] for each in found["erasures"]] == [receipt["id"]]
    assert {event["event"] for event in found["events"]} == {"sendrealm.contact.deleted"}
    assert "x@b.example" not in json.dumps(found)
