"""`/emails`: sending through a server and its worker, and rejections."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audiences import NOBODY, new_audience, new_contact, new_topic, send
from tests.support.http_server import wait_until
from tests.support.raw_http import Client, Response

WAIT_SECONDS_MAX = 20.0


def email(client: Client, **members: Any) -> Response:
    body = {"from": "Shop <news@example.org>", "to": ["ann@b.example"], "subject": "Hello"}
    return send(client, "POST", "/emails", **{**body, "text": "Hi.", **members})


def test_an_email_is_sent_and_shows_its_life(client: Client) -> None:
    answer = email(client)

    assert answer.status == 201, answer.body
    assert (answer.data["status"], answer.data["to"]) == ("queued", ["ann@b.example"])
    target = f"/emails/{answer.data['id']}"
    wait_until(lambda: client.get(target).data["status"] == "sent", WAIT_SECONDS_MAX)
    shown = client.get(target).data
    assert (shown["subject"], shown["last_event"]) == ("Hello", "send")
    assert shown["sent_at"] is not None
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["sent"]
    assert shown["skipped_reason"] is None
    contact = client.get(f"/contacts/{shown['contact_id']}").data
    assert contact["email"] == "ann@b.example"


def test_a_key_sends_once(client: Client) -> None:
    first = email(client, idempotency_key="order-1")
    again = email(client, idempotency_key="order-1")

    assert (first.status, again.status) == (201, 200)
    assert "deduplicated" not in first.data
    assert (again.data["id"], again.data["deduplicated"]) == (first.data["id"], True)


def test_each_recipient_has_a_message(client: Client) -> None:
    answer = email(client, cc=["Bob <bob@b.example>"], bcc=["eve@b.example"])

    roles = {message["to"]: message["role"] for message in answer.data["messages"]}
    assert roles == {"ann@b.example": "to", "bob@b.example": "cc", "eve@b.example": "bcc"}


def test_a_suppressed_address_is_skipped(client: Client) -> None:
    send(client, "POST", "/suppressions", email="ann@b.example")
    target = f"/emails/{email(client).data['id']}"
    wait_until(lambda: client.get(target).data["status"] == "skipped", WAIT_SECONDS_MAX)
    assert client.get(target).data["skipped_reason"] == "suppressed_manual"


def test_a_published_template_is_sent(client: Client) -> None:
    draft = {"name": "T", "channel": "email", "subject_template": "For {{ pet }}"}
    made = send(client, "POST", "/templates", **draft, rendered_text="Hello {{ pet }}").data
    published = client.request("POST", f"/templates/{made['id']}/publish").data
    version = published["current_published_version"]["id"]
    members = {"template_version_id": version, "variables": {"pet": "Rex"}}
    body = {"from": "news@example.org", "to": ["ann@b.example"]}
    answer = send(client, "POST", "/emails", **body, **members)

    assert answer.status == 201, answer.body
    target = f"/emails/{answer.data['id']}"
    wait_until(lambda: client.get(target).data["status"] == "sent", WAIT_SECONDS_MAX)
    assert client.get(target).data["subject"] == "For Rex"


def test_audiences_get_a_job(client: Client) -> None:
    audience, topic = new_audience(client), new_topic(client)
    contact = new_contact(client)
    send(client, "POST", f"/audiences/{audience}/contacts", contact_ids=[contact])
    members = {"audiences": [audience], "kind": "marketing", "topic_id": topic, "to": None}

    looked = email(client, **members, dry_run=True)
    assert looked.status == 200, looked.body
    assert looked.data == {
        "dry_run": True,
        "count": 1,
        "sample": [contact],
        "judged": 1,
        "skipped": {"no_address": 1},
        "deferred": {},
    }
    answer = email(client, **members)
    assert (answer.status, answer.data["total"]) == (201, 1)
    target = f"/send-jobs/{answer.data['id']}"
    stopped = client.request("POST", f"{target}/stop")
    assert stopped.status == 200, stopped.body
    assert client.get(target).data["status"] in {"stopped", "done"}


def test_a_batch_has_a_result_for_each_email(client: Client) -> None:
    good = {"from": "news@example.org", "to": ["ann@b.example"], "subject": "a", "text": "b"}
    emails = [good, {**good, "to": ["nobody"]}, {**good, "contact_id": NOBODY}]
    answer = send(client, "POST", "/emails/batch", emails=emails)

    assert answer.status == 200, answer.body
    items = answer.json()["data"]
    assert [item["status"] for item in items] == [201, 422, 422]
    assert client.get(f"/emails/{items[0]['data']['id']}").status == 200
    assert items[1]["error"]["details"][0]["field"] == "to[0]"


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"form": "x"}, "form"),
        ({"to": []}, "to"),
        ({"text": None}, ""),
        ({"headers": {"Bcc": "eve@b.example"}}, "headers.Bcc"),
        ({"topic_id": NOBODY}, "topic_id"),
        ({"template_version_id": NOBODY, "text": None}, "template_version_id"),
    ],
)
def test_a_wrong_email_is_rejected(client: Client, members: dict[str, Any], field: str) -> None:
    answer = email(client, **members)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert field in {problem["field"] for problem in answer.json()["error"]["details"]}


def test_emails_are_listed_in_pages(client: Client) -> None:
    later = {"scheduled_at": "2027-10-01T00:00:00Z"}
    ids = [email(client, subject=f"No {n}", **later).data["id"] for n in range(2)]
    ids.append(email(client, cc=["bob@b.example"], **later).data["id"])
    page = client.get("/emails?limit=2").json()
    shown = page["data"][0]
    assert [one["id"] for one in page["data"]] == [ids[2], ids[1]]
    assert (shown["from"], shown["to"]) == ("Shop <news@example.org>", ["ann@b.example"])
    assert (shown["status"], shown["contact_id"]) == ("queued", None)
    assert page["data"][1]["contact_id"] is not None
    rest = client.get(f"/emails?limit=2&cursor={page['next_cursor']}").json()
    assert ([one["id"] for one in rest["data"]], rest["next_cursor"]) == ([ids[0]], None)
