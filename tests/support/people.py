"""Calls about people, their conflicts and merges."""

from __future__ import annotations

import json
from typing import Any

from tests.support.http_server import wait_until
from tests.support.raw_http import Client, Response

WAIT_SECONDS_MAX = 20.0


def processed(client: Client, **event: Any) -> dict[str, Any]:
    """Send an event and wait until it is processed; returns the processed event."""
    answer = client.send({"event": "order.completed", **event})
    assert answer.status in (200, 202), answer.body
    event_id = answer.data["id"]
    wait_until(
        lambda: client.get(f"/events/{event_id}").data["status"] == "processed", WAIT_SECONDS_MAX
    )
    shown: dict[str, Any] = client.get(f"/events/{event_id}").data
    return shown


def entries(client: Client, event: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Entries of one type in the trace of an event."""
    found = client.get(f"/events/{event['id']}/trace").data["entries"]
    return [entry for entry in found if entry["type"] == kind]


def merge(client: Client, contact_id: str, other_id: str, **fields: Any) -> Response:
    """`POST /contacts/{id}/merge`."""
    body = json.dumps({"from": other_id, **fields})
    return client.post(f"/contacts/{contact_id}/merge", body)


def undo(client: Client, merge_id: str) -> Response:
    """`POST /merges/{id}/undo`."""
    return client.request("POST", f"/merges/{merge_id}/undo")


def erase(client: Client, contact_id: str, query: str = "") -> dict[str, Any]:
    """`DELETE /contacts/{id}?erase=true`, and wait until it is done; returns the receipt."""
    answer = client.request("DELETE", f"/contacts/{contact_id}?erase=true&{query}".rstrip("&"))
    assert answer.status in (200, 202), answer.body
    erasure_id = answer.data["id"]
    wait_until(
        lambda: client.get(f"/erasures/{erasure_id}").data["status"] == "done", WAIT_SECONDS_MAX
    )
    shown: dict[str, Any] = client.get(f"/erasures/{erasure_id}").data
    return shown
