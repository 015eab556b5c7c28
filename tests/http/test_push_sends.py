"""`/push/notifications` and `/push/tests`: responses and rejections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.audiences import NOBODY, send
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.push import Phone, new_app, subscription
from tests.support.raw_http import Client

WAIT_SECONDS_MAX = 20.0
TEXT = {"title": "Your order", "body": "It is on its way."}


@pytest.fixture
def app_id(client: Client) -> str:
    return str(new_app(client)["id"])


def push(client: Client, app_id: str, **members: Any) -> Any:
    return send(client, "POST", "/push/notifications", app_id=app_id, notification=TEXT, **members)


def status_of(client: Client, push_id: str) -> dict[str, Any]:
    answer = client.get(f"/push/notifications/{push_id}")
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.data
    return shown


def test_a_push_is_stored_counted_and_found_by_its_key(client: Client, app_id: str) -> None:
    tokens = [{"token": f"t{number}", "platform": "ios"} for number in range(3)]
    answer = push(client, app_id, tokens=tokens, idempotency_key="order-7")
    assert answer.status == 201, answer.body
    assert (answer.data["total"], answer.data["deduplicated"]) == (3, False)
    again = push(client, app_id, tokens=tokens, idempotency_key="order-7")
    assert (again.status, again.data["id"]) == (200, answer.data["id"])
    assert again.data["deduplicated"]
    other = push(client, app_id, tokens=tokens[:1], idempotency_key="order-7")
    assert (other.status, other.headers["idempotency-mismatch"]) == (200, "true")

    # No transport sends to iOS yet, and the push says so.
    push_id = answer.data["id"]
    wait_until(lambda: status_of(client, push_id)["failed"] == 3, WAIT_SECONDS_MAX)
    shown = status_of(client, push_id)
    assert {each["reason"] for each in shown["notifications"]} == {"not_supported"}
    assert (shown["total"], shown["queued"], shown["sent"]) == (3, 0, 0)
    listed = client.get("/messages").data
    assert {(each["channel"], each["status"]) for each in listed} == {("push", "failed")}
    detail = client.get(f"/messages/{listed[0]['id']}")
    assert detail.status == 200, detail.body


def test_contacts_without_a_device_and_unknown_ones_are_counted(
    client: Client, app_id: str
) -> None:
    made = send(client, "POST", "/contacts", external_id="ann")
    assert made.status == 201, made.body
    answer = push(client, app_id, external_ids=["ann", "nobody"])
    assert answer.status == 201, answer.body
    counts = {name: answer.data[name] for name in ("total", "unknown", "without_device")}
    assert counts == {"total": 0, "unknown": 1, "without_device": 1}


def test_a_scheduled_push_is_stopped(client: Client, app_id: str) -> None:
    tokens = [{"token": "t", "platform": "ios"}]
    later = datetime.now(UTC) + timedelta(days=30)
    made = push(client, app_id, tokens=tokens, scheduled_at=later.isoformat())
    assert (made.status, made.data["queued"], made.data["stopped"]) == (201, 1, False)
    target = f"/push/notifications/{made.data['id']}"
    stopped = client.request("POST", f"{target}/stop")
    assert stopped.status == 200, stopped.body
    counts = [stopped.data[name] for name in ("queued", "skipped", "stopped")]
    assert counts == [0, 1, True]
    assert client.get(target).data["notifications"][0]["status"] == "cancelled"
    assert client.request("POST", f"/push/notifications/{NOBODY}/stop").status == 404


def test_a_test_goes_to_one_device(client: Client, app_id: str) -> None:
    anybody = Client(client.port, None)
    phone = Phone(anybody, app_id, "ios")
    device_id = phone.send("init").data["device_id"]
    registered = phone.send("register", registration_id="ab" * 32, device_id=device_id)
    assert registered.status == 200, registered.body
    members = {"app_id": app_id, "device_id": device_id, "title": "Test", "body": "It works."}
    answer = send(client, "POST", "/push/tests", **members)
    assert answer.status == 201, answer.body
    assert [each["device_id"] for each in answer.data["notifications"]] == [device_id]
    anybody.close()
    missing = send(client, "POST", "/push/tests", app_id=app_id)
    assert missing.status == 422
    assert set(missing.fields) == {"device_id", "title", "body"}


def test_the_draft_of_a_template_goes_to_one_device(
    client: Client, app_id: str, project: Project, server: HttpServer
) -> None:
    anybody = Client(client.port, None)
    phone = Phone(anybody, app_id, "ios")
    facts = {"registration_id": "ab" * 32, "device_locale": "de_AT", "environment": "development"}
    assert phone.send("register", user_external_id="ann", **facts).status == 200
    anybody.close()
    url = "https://x.example/{{ order_id }}"
    english = {"locale": "en", "title": "Order {{ order_id }}", "message": "x", "launch_url": url}
    german = {"locale": "de", "title": "Bestellung {{ order_id }}"}
    german |= {"message": "{{ contact.external_id }}"}
    template: dict[str, Any] = {"name": "Rating", "channel": "push", "default_locale": "en"}
    template |= {"messages": [english, german]}
    template |= {"buttons": [{"id": "go", "text": "Go"}], "data": {"id": "{{ order_id }}"}}
    template_id = send(client, "POST", "/templates", **template).data["id"]
    named = {"app_id": app_id, "device_id": phone.device_id, "template_id": template_id}
    missing = send(client, "POST", "/push/tests", **named)
    assert (missing.status, b"order_id" in missing.body) == (422, True)
    sent = send(client, "POST", "/push/tests", **named, variables={"order_id": 7})
    assert sent.status == 201, sent.body
    assert [each["device_id"] for each in sent.data["notifications"]] == [phone.device_id]
    push_id = sent.data["id"]
    held = server.in_store(lambda store: store.push.sends.get(project.id, push_id))
    assert held is not None
    content = held.content
    assert (content.title, content.body) == ("Bestellung 7", "ann")
    assert content.launch_url == "https://x.example/7"
    assert [each.text for each in content.buttons] == ["Go"]
    assert (content.data, content.environment) == ({"id": "7"}, "development")


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ({"template_id": NOBODY}, ["template_id"]),
        ({"template_id": NOBODY, "title": "x"}, ["title"]),
        ({"template_id": "x"}, ["template_id"]),
        ({"title": "x", "body": "y", "variables": {}}, ["variables"]),
        ({"template_id": NOBODY, "device_id": "other"}, ["device_id"]),
        ({"template_id": NOBODY, "app_id": "nosuchapp1"}, ["device_id"]),
        ({"template_id": NOBODY, "device_id": 7}, ["device_id"]),
    ],
)
def test_a_test_that_cannot_be_sent_is_rejected(
    client: Client, app_id: str, members: dict[str, Any], fields: list[str]
) -> None:
    anybody = Client(client.port, None)
    phone = Phone(anybody, app_id, "ios")
    assert phone.send("register", registration_id="ab" * 32).status == 200
    anybody.close()
    body = {"app_id": app_id, "device_id": phone.device_id} | members
    answer = send(client, "POST", "/push/tests", **body)
    assert (answer.status, list(answer.fields)) == (422, fields), answer.body


def test_what_the_project_does_not_have_is_named(client: Client, app_id: str) -> None:
    answer = push(client, "nosuchapp1", audiences=[NOBODY], topic_id=NOBODY)
    assert answer.status == 422
    assert set(answer.fields) == {"app_id", "audiences[0]", "topic_id"}
    assert client.get(f"/push/notifications/{NOBODY}").status == 404
    assert app_id


@pytest.mark.parametrize(
    "endpoint",
    [
        *("http://fcm.googleapis.com/send/a", "https://example.org/send/a"),
        *("https://127.0.0.1/send/a", "https://fcm.googleapis.com:8443/a", "ftp://x"),
    ],
)
def test_a_subscription_elsewhere_is_rejected(client: Client, app_id: str, endpoint: str) -> None:
    answer = push(client, app_id, web_subscriptions=[subscription() | {"endpoint": endpoint}])
    assert answer.status == 422, answer.body
    assert answer.fields == ["web_subscriptions[0].endpoint"]


def test_unknown_members_name_the_nearest(client: Client, app_id: str) -> None:
    answer = push(client, app_id, externalIds=["ann"])
    assert answer.status == 422
    assert b"external_ids" in answer.body
