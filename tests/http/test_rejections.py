"""`GET /rejections`: what was rejected and why, without its contents."""

from __future__ import annotations

import json
from typing import Any

from tests.support.http_server import HttpServer, Project, wait_until
from tests.support.raw_http import Client

SECRET = "canary-7f3a"


def rejections(client: Client, count: int) -> list[dict[str, Any]]:
    """Wait for rejections, which are written within a second."""
    wait_until(lambda: len(client.get("/rejections?limit=200").data) >= count, 5)
    found: list[dict[str, Any]] = client.get("/rejections?limit=200").data
    return found


def test_a_rejection_is_shown_with_its_reason_and_shape(client: Client) -> None:
    sent = {"event": "Bad", "external_id": SECRET, "payload": {"secret": SECRET}, "oops": [1, 2]}
    answer = client.send(sent)

    (shown,) = rejections(client, 1)

    assert shown["status"] == 422
    assert shown["code"] == "ValidationError"
    assert shown["message"] == answer.json()["error"]["message"]
    assert shown["details"] == answer.json()["error"]["details"]
    assert shown["request_id"] == answer.headers["x-request-id"]
    assert shown["route"] == "POST /events"
    assert client.key is not None
    assert shown["api_key"] == client.key.split("_")[1]
    assert shown["body_bytes"] == len(json.dumps(sent))
    assert shown["body_shape"] == {
        "event": "string of 3",
        "external_id": f"string of {len(SECRET)}",
        "payload": "object of 1",
        "oops": "array of 2",
    }
    assert SECRET not in json.dumps(shown)


def test_each_rejected_event_of_a_batch_is_shown(client: Client) -> None:
    events = [{"event": "Bad", "external_id": f"{number}"} for number in range(5)]
    client.post("/events/batch", json.dumps({"events": events}))

    assert {shown["route"] for shown in rejections(client, 5)} == {"POST /events/batch"}


def test_newest_first_page_by_page(client: Client) -> None:
    for number in range(25):
        client.send({"event": "Bad" * (number + 1), "external_id": "x"})
    everything = [shown["id"] for shown in rejections(client, 25)]
    paged: list[str] = []
    target: str | None = "/rejections?limit=4"
    while target is not None:
        answer = client.get(target)
        paged += [shown["id"] for shown in answer.data]
        cursor = answer.json()["next_cursor"]
        target = cursor and f"/rejections?limit=4&cursor={cursor}"

    assert paged == everything
    assert len(set(paged)) == 25


def test_projects_do_not_see_one_another(server: HttpServer, project: Project) -> None:
    stranger = server.project()
    client = project.client()
    client.send({"event": "Bad", "external_id": "x"})
    rejections(client, 1)

    assert stranger.client().get("/rejections").data == []
    stranger.close()


def test_rejections_before_the_body_are_shown_too(client: Client) -> None:
    client.post("/events", b"{}", body_type="text/plain")
    client.post("/events", b"{}", headers={"Content-Encoding": "br"})

    assert {shown["status"] for shown in rejections(client, 2)} == {415}
