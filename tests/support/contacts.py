"""Calls of `/contacts`."""

from __future__ import annotations

import json
from typing import Any

from tests.support.raw_http import Client, Response


def create(client: Client, query: str = "", **fields: Any) -> Response:
    """`POST /contacts`."""
    return client.post(f"/contacts{query}", json.dumps(fields))


def patch(client: Client, contact_id: str, body: str | None = None, **fields: Any) -> Response:
    """`PATCH /contacts/{id}`; `body` is sent instead of the fields."""
    text = json.dumps(fields) if body is None else body
    return client.request("PATCH", f"/contacts/{contact_id}", body=text.encode())


def delete(client: Client, contact_id: str) -> Response:
    """`DELETE /contacts/{id}`."""
    return client.request("DELETE", f"/contacts/{contact_id}")


def listed(client: Client, query: str = "") -> list[str]:
    """Ids of a list, all pages, in order."""
    found: list[str] = []
    cursor = ""
    while True:
        answer = client.get(f"/contacts?{query}{cursor}")
        assert answer.status == 200, answer.body
        found += [contact["id"] for contact in answer.data]
        following = answer.json()["next_cursor"]
        if following is None:
            return found
        cursor = f"&cursor={following}"


def system_events(client: Client) -> list[dict[str, Any]]:
    """System events of the project, oldest first, as `{"event": ..., "payload": ...}`."""
    answer = client.get("/events?source=system&limit=200")
    assert answer.status == 200, answer.body
    shown = reversed(answer.data)
    return [{"event": event["event"], "payload": event["payload"]} for event in shown]
