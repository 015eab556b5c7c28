"""Calls of `/topics` and `/audiences`."""

from __future__ import annotations

import json
from typing import Any

from tests.support.raw_http import Client, Response

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def send(client: Client, method: str, target: str, **members: Any) -> Response:
    """Send a request with a JSON body."""
    return client.request(method, target, body=json.dumps(members).encode())


def new_contact(client: Client, **fields: Any) -> str:
    """Create a contact; returns its id."""
    return made(send(client, "POST", "/contacts", **fields))


def new_topic(client: Client, name: str = "News", **fields: Any) -> str:
    """Create a topic; returns its id."""
    return made(send(client, "POST", "/topics", name=name, **fields))


def new_audience(client: Client, name: str = "VIP", **fields: Any) -> str:
    """Create an audience; returns its id."""
    return made(send(client, "POST", "/audiences", name=name, **fields))


def made(answer: Response) -> str:
    """Id in a 201 response."""
    assert answer.status == 201, answer.body
    return str(answer.data["id"])


def choose(client: Client, contact_id: str, topic_id: str, *, wanted: Any) -> Response:
    """`PUT /contacts/{contact_id}/topics/{topic_id}`."""
    return send(client, "PUT", f"/contacts/{contact_id}/topics/{topic_id}", is_subscribed=wanted)


def ids_of(client: Client, target: str) -> list[str]:
    """Ids of a list, all pages, in order."""
    found: list[str] = []
    joint = "&" if "?" in target else "?"
    cursor = ""
    while True:
        answer = client.get(f"{target}{joint}limit=2{cursor}")
        assert answer.status == 200, answer.body
        found += [item["id"] for item in answer.data]
        following = answer.json()["next_cursor"]
        if following is None:
            return found
        cursor = f"&cursor={following}"
