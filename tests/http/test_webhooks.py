"""`/webhooks`: create, read, update, delete, rotate, and rejections."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from headrace.domain.access.api_keys import Scope
from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client, Response

#: From a range for documentation: a public address without a host, so nothing is sent to it.
URL = "https://93.184.216.34/hook"
NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"

ROUTES = [
    ("GET", ""),
    ("PATCH", ""),
    ("DELETE", ""),
    ("POST", "/test"),
    ("POST", "/rotate-secret"),
    ("GET", "/deliveries"),
]


def create(client: Client, **fields: Any) -> Response:
    return client.post("/webhooks", json.dumps({"url": URL, "events": ["order.*"]} | fields))


def ask(client: Client, method: str, path: str, **fields: Any) -> Response:
    body = json.dumps(fields).encode() if method == "PATCH" else None
    return client.request(method, path, body=body)


def details(answer: Response) -> dict[str, str]:
    return {one["field"]: one["message"] for one in answer.json()["error"]["details"]}


def test_a_webhook_is_created_and_its_secret_shown_once(client: Client) -> None:
    answer = create(client, description="books")

    assert answer.status == 201
    shown = answer.data
    secret = shown.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert (shown["url"], shown["events"]) == (URL, ["order.*"])
    assert (shown["enabled"], shown["disabled_reason"]) == (True, None)
    assert client.get(f"/webhooks/{shown['id']}").data == shown
    assert secret not in client.get("/webhooks").body.decode()


def test_a_list_pages_newest_first(client: Client) -> None:
    made = [create(client).data["id"] for _ in range(5)]
    first = client.get("/webhooks?limit=3").json()
    rest = client.get(f"/webhooks?limit=3&cursor={first['next_cursor']}").json()
    assert [each["id"] for each in first["data"] + rest["data"]] == made[::-1]
    assert rest["next_cursor"] is None


def test_every_problem_is_listed(client: Client) -> None:
    body = {"url": "ftp://x", "events": ["Order", 3], "evnts": [], "enabled": 1, "description": 2}
    answer = client.post("/webhooks", json.dumps(body))
    assert answer.status == 422
    assert answer.code == "ValidationError"
    found = details(answer)
    assert found["evnts"] == "is an unknown field of a webhook; did you mean events?"
    assert found["url"] == "must begin with https:// or http://"
    assert found["events[1]"] == "must be a string, got a number"
    assert found["enabled"] == "must be true or false, got a number"
    assert found["description"] == "must be a string, got a number"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"events": []}, "events"),
        ({"events": ["x"] * 101}, "events"),
        ({"events": "order.*"}, "events"),
        ({"events": None}, "events"),
        ({"events": ["a*"]}, "events[0]"),
        ({"url": None}, "url"),
        ({"url": ""}, "url"),
        ({"description": "x" * 501}, "description"),
        ({"description": "a\u0007"}, "description"),
        ({"description": "a\u0000"}, "description"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"id": NOBODY}, "id"),
        ({"paused": "no"}, "paused"),
        ({"format": "xml"}, "format"),
        ({"format": ["cloudevents"]}, "format"),
        ({"headers": "X-A: 1"}, "headers"),
        ({"headers": {"X-A": "***"}}, "headers.X-A"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "headers.X-A"),
        ({"headers": {"X-A": 1}}, "headers.X-A"),
        ({"headers": {"webhook-id": "1"}}, "headers.webhook-id"),
        ({"paused": False, "per_second": 5}, "per_second"),
    ],
)
def test_a_wrong_field_is_named(client: Client, fields: dict[str, Any], field: str) -> None:
    answer = create(client, **fields)
    assert answer.status == 422
    assert answer.fields == [field]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://169.254.169.254/latest",
        "http://localhost:8080/",
        "https://user:pw@example.com/",
        "https://example.com\\@10.0.0.1/",
        "http://example.com:22/",
        "file:///etc/passwd",
        "https://example.com/#x",
        "https://" + "a" * 3000,
    ],
)
def test_a_url_that_must_not_be_called_is_rejected_at_save(client: Client, url: str) -> None:
    refused = create(client, url=url)
    assert (refused.status, refused.fields) == (422, ["url"])
    webhook = create(client).data
    path = f"/webhooks/{webhook['id']}"
    changed = ask(client, "PATCH", path, url=url)
    assert (changed.status, changed.fields) == (422, ["url"])
    assert client.get(path).data["url"] == URL


def test_a_url_is_kept_in_one_spelling(client: Client) -> None:
    assert create(client, url="HTTPS://93.184.216.34:443").data["url"] == "https://93.184.216.34/"


@pytest.mark.parametrize("body", ["", "[]", "null", "{", '{"url":1,"url":2}'])
def test_a_body_that_is_no_object_is_malformed(client: Client, body: str) -> None:
    assert client.post("/webhooks", body).status == 400


def test_another_media_type_is_rejected(client: Client) -> None:
    assert client.post("/webhooks", "{}", body_type="text/plain").status == 415


def test_only_what_is_sent_changes(client: Client) -> None:
    webhook = create(client, description="a").data
    path = f"/webhooks/{webhook['id']}"
    changed = ask(client, "PATCH", path, events=["*"], description=None).data
    assert (changed["events"], changed["description"]) == (["*"], "a")
    off = ask(client, "PATCH", path, enabled=False).data
    assert (off["enabled"], off["disabled_reason"]) == (False, "switched off")
    assert ask(client, "PATCH", path, enabled=True).data["disabled_reason"] is None
    assert ask(client, "PATCH", path).status == 200


def test_it_is_paused_and_resumed_at_a_rate(client: Client) -> None:
    webhook = create(client).data
    assert (webhook["paused"], webhook["paused_at"], webhook["per_second"]) == (False, None, None)
    path = f"/webhooks/{webhook['id']}"
    paused = ask(client, "PATCH", path, paused=True).data
    assert paused["paused"] is True
    assert paused["paused_at"] == paused["updated_at"]
    # A pause of the breaker is something else.
    assert (paused["enabled"], paused["paused_until"]) == (True, None)
    assert client.get(path).data == paused
    resumed = ask(client, "PATCH", path, paused=False, per_second=20).data
    assert (resumed["paused"], resumed["paused_at"], resumed["per_second"]) == (False, None, 20)
    assert create(client, paused=True).data["paused"] is True


def test_own_headers_are_masked_and_kept_by_the_mask(client: Client) -> None:
    secret = "Bearer s3cr3t"
    webhook = create(client, headers={"Authorization": secret, "X-Env": "prod"}).data
    assert webhook["headers"] == {"Authorization": "***", "X-Env": "***"}
    path = f"/webhooks/{webhook['id']}"
    assert client.get(path).data["headers"] == webhook["headers"]
    assert "s3cr3t" not in client.get("/webhooks").body.decode()

    # All of what was read can be sent back.
    changed = ask(client, "PATCH", path, headers={"authorization": "***", "X-New": "1"}).data
    assert changed["headers"] == {"authorization": "***", "X-New": "***"}
    assert ask(client, "PATCH", path, description="b").data["headers"] == changed["headers"]
    unknown = ask(client, "PATCH", path, headers={"X-Env": "***"})
    assert unknown.status == 422
    assert unknown.fields == ["headers.X-Env"]
    assert ask(client, "PATCH", path, headers={}).data["headers"] == {}
    assert create(client).data["headers"] == {}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"per_second": 5}, "can only be sent with paused: false"),
        ({"per_second": 5, "paused": True}, "can only be sent with paused: false"),
        ({"per_second": 0, "paused": False}, "must be a whole number from 1 to 1000"),
        ({"per_second": 1001, "paused": False}, "must be a whole number from 1 to 1000"),
        ({"per_second": 1.5, "paused": False}, "must be a whole number from 1 to 1000"),
        ({"per_second": "5", "paused": False}, "must be a number, got a string"),
    ],
)
def test_a_rate_is_checked(client: Client, fields: dict[str, Any], problem: str) -> None:
    webhook = create(client).data
    answer = ask(client, "PATCH", f"/webhooks/{webhook['id']}", **fields)
    assert answer.status == 422
    assert details(answer) == {"per_second": problem}


def test_a_rotation_shows_a_new_secret_once(client: Client) -> None:
    webhook = create(client).data
    path = f"/webhooks/{webhook['id']}"
    rotated = client.request("POST", f"{path}/rotate-secret")
    assert rotated.status == 200
    assert rotated.data["secret"] != webhook["secret"]
    shown = client.get(path)
    assert shown.data["previous_secret_until"] == rotated.data["previous_secret_until"]
    assert rotated.data["secret"] not in shown.body.decode()


@pytest.mark.parametrize("action", ["test", "rotate-secret"])
def test_an_action_takes_no_fields(client: Client, action: str) -> None:
    webhook = create(client).data
    answer = client.post(f"/webhooks/{webhook['id']}/{action}", '{"secret":"x"}')
    assert (answer.status, answer.fields) == (422, ["secret"])


def test_a_deleted_webhook_is_gone(client: Client) -> None:
    path = f"/webhooks/{create(client).data['id']}"
    deleted = client.request("DELETE", path)
    assert (deleted.status, deleted.body) == (204, b"")
    assert [ask(client, method, f"{path}{rest}").status for method, rest in ROUTES] == [404] * 6


@pytest.mark.parametrize("webhook_id", [NOBODY, "x", "%00", "..%2f", NOBODY.upper()])
def test_what_is_not_there_is_not_found(client: Client, webhook_id: str) -> None:
    statuses = [ask(client, m, f"/webhooks/{webhook_id}{rest}").status for m, rest in ROUTES]
    assert statuses == [404] * 6


def test_webhooks_of_others_are_not_there(client: Client, server: HttpServer) -> None:
    webhook = create(client).data
    project = server.project()
    stranger = project.client()
    for method, rest in ROUTES:
        answer = ask(stranger, method, f"/webhooks/{webhook['id']}{rest}")
        assert (answer.status, answer.code) == (404, "NotFound")
    assert stranger.get("/webhooks").data == []
    assert client.get(f"/webhooks/{webhook['id']}").status == 200
    project.close()


def test_a_cursor_of_others_is_rejected(client: Client, server: HttpServer) -> None:
    for _ in range(2):
        create(client)
    cursor = client.get("/webhooks?limit=1").json()["next_cursor"]
    project = server.project()
    assert project.client().get(f"/webhooks?cursor={cursor}").status == 422
    project.close()


@pytest.mark.parametrize("query", ["?limit=0", "?limit=201", "?limit=x", "?cursor=x", "?a=1"])
def test_a_wrong_query_is_rejected(client: Client, query: str) -> None:
    path = f"/webhooks/{create(client).data['id']}/deliveries"
    assert client.get(f"/webhooks{query}").status == 422
    assert client.get(f"{path}{query}").status == 422


def test_scopes(server: HttpServer, project: Project) -> None:
    webhook = create(project.client()).data
    reader = project.client(server.issue_key(project, {Scope.READ}))
    manager = project.client(server.issue_key(project, {Scope.MANAGE}))
    wait_until(lambda: reader.get("/webhooks").status != 401, 10)
    wait_until(lambda: manager.get("/webhooks").status != 401, 10)
    path = f"/webhooks/{webhook['id']}"
    assert [reader.get(each).status for each in ("/webhooks", path, f"{path}/deliveries")] == [
        200
    ] * 3
    assert manager.get(path).status == 403
    refused = [ask(reader, method, f"{path}{rest}") for method, rest in ROUTES if method != "GET"]
    assert [answer.status for answer in (*refused, create(reader))] == [403] * 5
    assert create(manager).status == 201


def test_methods_are_named(client: Client) -> None:
    answer = client.request("PUT", "/webhooks")
    assert answer.status == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({}, "from", "is required without event_ids"),
        ({"event_ids": []}, "event_ids", "must have 1 to 1000 items, got 0"),
        ({"event_ids": "x"}, "event_ids", "must be an array of strings"),
        ({"event_ids": [NOBODY] * 1001}, "event_ids", "must have 1 to 1000 items, got 1001"),
        ({"event_ids": ["x"]}, "event_ids[0]", "must be a UUID"),
        ({"event_ids": [7]}, "event_ids[0]", "must be a string"),
        ({"event_ids": [NOBODY]}, "event_ids", f"not found in this project: {NOBODY}"),
        ({"event_ids": [NOBODY], "from": "2026-01-01T00:00:00Z"}, "from", "cannot be combined"),
        ({"from": "yesterday"}, "from", ""),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "to", "must be after"),
        ({"from": "2026-01-01T00:00:00Z", "event": "A b"}, "event", "must be an event name"),
        ({"from": "2026-01-01T00:00:00Z", "only_failed": "yes"}, "only_failed", "must be true"),
        ({"from": "2026-01-01T00:00:00Z", "dry_run": 1}, "dry_run", "must be true or false"),
        ({"from": "2026-01-01T00:00:00Z", "per_second": 1001}, "per_second", "must be a whole"),
        ({"from": "2026-01-01T00:00:00Z", "form": 1}, "form", "did you mean from?"),
    ],
)
def test_sending_again_checks_its_fields(
    client: Client, fields: dict[str, Any], field: str, message: str
) -> None:
    webhook_id = create(client).data["id"]
    answer = client.post(f"/webhooks/{webhook_id}/resend", json.dumps(fields))
    assert answer.status == 422, answer.body
    assert message in details(answer)[field]


def test_sending_again_needs_an_enabled_webhook(client: Client) -> None:
    webhook_id = create(client, enabled=False).data["id"]
    since = {"from": "2026-01-01T00:00:00Z"}
    path = f"/webhooks/{webhook_id}/resend"
    assert client.post(path, json.dumps(since | {"dry_run": True})).status == 200
    refused = client.post(path, json.dumps(since))
    assert (refused.status, refused.code) == (409, "Conflict")
    unknown = client.post(f"/webhooks/{NOBODY}/resend", json.dumps(since))
    assert (unknown.status, unknown.code) == (404, "NotFound")


def test_sending_again_is_for_managers_of_the_project(
    client: Client, server: HttpServer, project: Project
) -> None:
    path = f"/webhooks/{create(client).data['id']}/resend"
    since = json.dumps({"from": "2026-01-01T00:00:00Z"})
    other = server.project()
    assert other.client().post(path, since).status == 404
    other.close()
    reader = project.client(server.issue_key(project, {Scope.READ}))
    wait_until(lambda: reader.get("/webhooks").status != 401, 10)
    assert reader.post(path, since).status == 403
