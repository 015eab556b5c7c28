"""`/catalog`: contents and queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.http_server import HttpServer
from tests.support.raw_http import Client
from tests.support.waiting import wait_until

EVENTS = (
    {"event": "order.completed", "payload": {"total": 12.5, "to": "canary@x.example"}},
    {"event": "order.completed", "payload": {"total": 1, "items": [{"sku": "Canary"}]}},
    {"event": "order.paid", "payload": {}},
    {"event": "user.seen", "payload": {"ip": "192.0.2.7"}},
)


def send(client: Client, events: Sequence[dict[str, Any]]) -> list[str]:
    """Send one by one, wait until all are processed; returns their ids."""
    ids = [str(client.send(event | {"external_id": "u1"}).data["id"]) for event in events]

    def processed() -> bool:
        statuses = {client.get(f"/events/{event_id}").data["status"] for event_id in ids}
        return statuses == {"processed"}

    wait_until(processed, "all processed")
    return ids


def names(client: Client, query: str = "") -> list[str]:
    found = client.get(f"/catalog{query}").data
    return [name["event"] for name in found if not name["event"].startswith("sendrealm.")]


def test_an_entry_says_what_events_look_like(client: Client) -> None:
    first, second, *_ = send(client, EVENTS)

    answer = client.get("/catalog/order.completed")

    assert answer.status == 200
    entry = answer.data
    assert (entry["events"], entry["inspected"], entry["sources"]) == (2, 2, ["api"])
    assert [sum(hour["sources"].values()) for hour in entry["hours"]] in ([2], [1, 1])
    assert [(p["path"], p["types"], p["share"], p["example"]) for p in entry["schema"]] == [
        ("items", ["array"], 0.5, []),
        ("items[]", ["object"], 0.5, {}),
        ("items[].sku", ["string"], 0.5, "<text>"),
        ("to", ["string"], 0.5, "<email>"),
        ("total", ["number"], 1.0, 0.5),
    ]
    assert entry["personal_data"] == ["email"]
    assert {(d["kind"], d["path"], d["event_id"], d["events_before"]) for d in entry["drift"]} == {
        ("new_path", path, second, 1) for path in ("items", "items[]", "items[].sku")
    }
    assert entry["example"] == {"total": 0, "items": [{"sku": "<text>"}]}
    assert entry["example_event_id"] in (first, second)
    assert "anary" not in answer.body.decode()


def test_names_are_listed_in_order_and_filtered(client: Client) -> None:
    send(client, EVENTS)
    assert names(client) == ["order.completed", "order.paid", "user.seen"]
    assert names(client, "?event=order.*") == ["order.completed", "order.paid"]
    assert names(client, "?event=user") == ["user.seen"]
    assert names(client, "?personal_data=any") == ["order.completed", "user.seen"]
    assert names(client, "?personal_data=ip_address") == ["user.seen"]
    assert names(client, "?source=batch") == []
    assert names(client, "?source=api&personal_data=email") == ["order.completed"]


def test_pages_follow_one_another(client: Client) -> None:
    send(client, EVENTS)
    assert client.get("/catalog?limit=2&event=order").json()["next_cursor"] is None
    page = client.get("/catalog?limit=1").json()
    following = client.get(f"/catalog?limit=1&cursor={page['next_cursor']}").json()
    assert [p["data"][0]["event"] for p in (page, following)] == ["order.completed", "order.paid"]
    for wrong in (f"{page['next_cursor']}&event=order", "x", "A" * 200, "%C3%A9"):
        assert client.get(f"/catalog?limit=1&cursor={wrong}").status == 422


@pytest.mark.parametrize(
    "query",
    ["event=A", "event=a..b", "event=%27", "source=web", "personal_data=all", "limit=0", "x=1"],
)
def test_wrong_queries_are_rejected(client: Client, query: str) -> None:
    assert client.get(f"/catalog?{query}").status == 422


@pytest.mark.parametrize("event", ["never.seen", "Order", "a..b", "%00", "x" * 300])
def test_an_unknown_name_is_not_found(client: Client, event: str) -> None:
    assert client.get(f"/catalog/{event}").status == 404


def test_projects_do_not_meet(client: Client, server: HttpServer) -> None:
    send(client, EVENTS[:1])
    other = server.project()
    try:
        assert other.client().get("/catalog/order.completed").status == 404
        assert other.client().get("/catalog").data == []
    finally:
        other.close()
