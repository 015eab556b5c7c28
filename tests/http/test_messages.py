"""`/messages`: lists, why a message did or did not arrive, settling and cancelling."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.audiences import NOBODY, new_contact, new_topic, send
from tests.support.dead_letters import sql_on
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client

WAIT_SECONDS_MAX = 20.0
LATER = "2027-10-01T00:00:00Z"


def mail(client: Client, to: str = "ann@b.example", **members: Any) -> str:
    """Send an e-mail to one recipient; returns the id of its message."""
    body = {"from": "Shop <news@example.org>", "to": [to], "subject": "Hello", "text": "Hi."}
    answer = send(client, "POST", "/emails", **{**body, **members})
    assert answer.status == 201, answer.body
    return str(answer.data["messages"][0]["id"])


def wait_for(client: Client, message_id: str, status: str) -> None:
    target = f"/messages/{message_id}"
    wait_until(lambda: client.get(target).data["status"] == status, WAIT_SECONDS_MAX)


def found(client: Client, query: str = "") -> list[str]:
    return [one["id"] for one in client.get(f"/messages{query}").data]


def test_messages_are_found_by_what_people_know(client: Client) -> None:
    contact = new_contact(client, email="ann@b.example")
    first = mail(client)
    other = mail(client, "bob@b.example", **{"from": "x@example.net"})
    waiting = mail(client, "Eve@b.example", scheduled_at=LATER)
    wait_for(client, first, "sent")

    assert found(client) == [waiting, other, first]
    assert found(client, f"?contact_id={contact}") == [first]
    assert found(client, "?email=EVE@b.example") == [waiting]
    assert found(client, "?status=queued") == [waiting]
    assert found(client, "?domain=example.net") == [other]
    assert found(client, "?kind=marketing") == []
    assert found(client, f"?email=ann@b.example&status=sent&contact_id={contact}") == [first]
    assert found(client, f"?contact_id={NOBODY}") == []
    email_id = client.get(f"/messages/{first}").data["email_id"]
    assert found(client, f"?email_id={email_id}") == [first]


def test_messages_are_listed_in_pages(client: Client) -> None:
    made = [mail(client, f"p{n}@b.example", scheduled_at=LATER) for n in range(5)]
    for filters in ("", "&status=queued", "&domain=example.org"):
        seen: list[str] = []
        target = f"/messages?limit=2{filters}"
        while target:
            page = client.get(target).json()
            seen += [one["id"] for one in page["data"]]
            following = page["next_cursor"]
            target = f"/messages?limit=2{filters}&cursor={following}" if following else ""
        assert seen == made[::-1]
    cursor = client.get("/messages?limit=2").json()["next_cursor"]
    assert client.get(f"/messages?status=queued&cursor={cursor}").status == 422


def test_a_message_that_was_sent_says_so(client: Client) -> None:
    message_id = mail(client)
    wait_for(client, message_id, "sent")
    trace = client.get(f"/messages/{message_id}/trace").data

    assert trace["explanation"] == "The relay accepted it."
    assert (trace["composing"], trace["checked_when"]) == ("done", "hand_over")
    assert {one["decision"] for one in trace["guardrails"]} == {"pass"}
    assert trace["guardrails"][0]["guardrail"] == "paused"
    assert [one["outcome"] for one in trace["attempts"]] == ["sent"]
    assert trace["message"]["subject"] == "Hello"


def test_a_message_that_was_skipped_names_the_guardrail(client: Client) -> None:
    send(client, "POST", "/suppressions", email="ann@b.example")
    message_id = mail(client)
    wait_for(client, message_id, "skipped")
    trace = client.get(f"/messages/{message_id}/trace").data

    assert "the address is on the suppression list" in trace["explanation"]
    assert trace["checked_when"] == "end"
    said = [(one["guardrail"], one["decision"]) for one in trace["guardrails"]]
    assert said[-1] == ("suppression", "skip")
    assert {decision for _, decision in said[:-1]} == {"pass"}
    assert trace["attempts"] == []


def test_a_message_that_waits_says_what_would_hold_it(
    client: Client, server: HttpServer, project: Project
) -> None:
    server.set_policy(project, "sending_paused", "mail")
    message_id = mail(client)
    trace = client.get(f"/messages/{message_id}/trace").data

    assert (trace["composing"], trace["checked_when"]) == ("pending", "now")
    assert trace["guardrails"] == [
        {
            "guardrail": "paused",
            "decision": "defer",
            "reason": "sending_paused",
            "rule": None,
            "until": None,
        }
    ]
    assert client.get(f"/messages/{message_id}").data["status"] == "queued"
    server.set_policy(project, "sending_paused", "none")
    wait_for(client, message_id, "sent")


def test_a_template_without_a_value_says_which(client: Client) -> None:
    message_id = mail(client, text="Hello {{ pet }}", variables={"x": 1})
    wait_for(client, message_id, "skipped")
    trace = client.get(f"/messages/{message_id}/trace").data
    assert (trace["composing"], trace["guardrails"]) == ("failed", [])
    assert "(pet)" in trace["explanation"]


def test_a_message_that_waits_is_cancelled_once(client: Client) -> None:
    message_id = mail(client, scheduled_at=LATER)
    for _ in range(2):
        answer = client.request("POST", f"/messages/{message_id}/cancel")
        assert (answer.status, answer.data["status"]) == (200, "cancelled")
    sent = mail(client)
    wait_for(client, sent, "sent")
    answer = client.request("POST", f"/messages/{sent}/cancel")
    assert (answer.status, answer.code) == (409, "Conflict")


@pytest.mark.parametrize(
    ("outcome", "status"), [("sent", "sent"), ("failed", "failed"), ("retry", "deferred")]
)
def test_an_unknown_message_is_settled_by_a_person(
    client: Client, server: HttpServer, project: Project, outcome: str, status: str
) -> None:
    topic = new_topic(client, default_subscribed=True)
    members = {"kind": "marketing", "topic_id": topic, "scheduled_at": LATER}
    message_id = mail(client, **members)
    rows = sql_on(server.directory / "headrace.db")
    rows(
        "UPDATE messages SET state = 'unknown', reason = 'unknown', due_us = NULL WHERE id = ?",
        message_id,
    )
    # Nothing is sent again before an operator settles it.
    server.set_policy(project, "sending_paused", "all")
    assert found(client, "?status=unknown") == [message_id]
    for _ in range(2):
        answer = send(client, "POST", f"/messages/{message_id}/settle", outcome=outcome)
        assert answer.status == 200, answer.body
        assert answer.data["status"] == status
    other = {"sent": "failed"}.get(outcome, "sent")
    answer = send(client, "POST", f"/messages/{message_id}/settle", outcome=other)
    assert (answer.status, answer.code) == (409, "Conflict")


def test_all_unknown_messages_are_settled(client: Client, server: HttpServer) -> None:
    topic = new_topic(client, default_subscribed=True)
    members = {"kind": "marketing", "topic_id": topic, "scheduled_at": LATER}
    ids = [mail(client, **members) for _ in range(3)]
    waiting = mail(client, **members)
    rows = sql_on(server.directory / "headrace.db")
    for message_id in ids:
        rows(
            "UPDATE messages SET state = 'unknown', reason = 'unknown', due_us = NULL WHERE id = ?",
            message_id,
        )
    answer = send(client, "POST", "/messages/settle", outcome="failed")
    assert (answer.status, answer.data) == (200, {"settled": 3, "more": False})
    assert found(client, "?status=unknown") == []
    assert sorted(found(client, "?status=failed")) == sorted(ids)
    assert client.get(f"/messages/{waiting}").data["status"] == "queued"
    answer = send(client, "POST", "/messages/settle", outcome="sent")
    assert answer.data == {"settled": 0, "more": False}
    assert client.request("POST", "/messages/settle", body=b"{}").status == 422


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"outcome": "lost"}', b'{"outcome": 1}', b'{"outcome": "sent", "x": 1}'],
)
def test_a_wrong_settlement_is_rejected(client: Client, body: bytes) -> None:
    message_id = mail(client, scheduled_at=LATER)
    answer = client.request("POST", f"/messages/{message_id}/settle", body=body)
    assert answer.status == 422
    assert client.get(f"/messages/{message_id}").data["status"] == "queued"


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "contact_id=x",
        "email=nobody",
        "domain=localhost",
        "kind=bulk",
        "limit=201",
        "cursor=x",
        "email=a%00@b.example",
        "emial=a@b.example",
    ],
)
def test_a_wrong_filter_is_rejected(client: Client, query: str) -> None:
    assert client.get(f"/messages?{query}").status == 422


def test_messages_of_another_project_are_not_there(server: HttpServer, client: Client) -> None:
    contact = new_contact(client, email="ann@b.example")
    message_id = mail(client, scheduled_at=LATER)
    stranger = server.project()
    other = stranger.client()
    try:
        assert found(other) == []
        assert found(other, f"?contact_id={contact}") == []
        assert found(other, "?email=ann@b.example") == []
        for method, path in (
            ("GET", ""),
            ("GET", "/trace"),
            ("POST", "/cancel"),
            ("POST", "/settle"),
        ):
            body = b'{"outcome": "sent"}' if path == "/settle" else None
            assert other.request(method, f"/messages/{message_id}{path}", body=body).status == 404
    finally:
        stranger.close()
