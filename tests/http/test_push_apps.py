"""`/push/apps` and `/push/devices`: what servers and operators do."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.store.access.sealing import sealed_secrets
from tests.support.audiences import NOBODY, send
from tests.support.http_server import HttpServer, wait_until
from tests.support.push import Phone, new_app, subscription
from tests.support.raw_http import Client

WAIT_SECONDS_MAX = 20.0
POINT_BYTES = 65


@pytest.fixture
def anybody(server: HttpServer) -> Iterator[Client]:
    """A client without a key."""
    client = Client(server.port, None)
    yield client
    client.close()


def test_an_app_has_keys_of_its_own_which_are_sealed(client: Client, server: HttpServer) -> None:
    first, second = new_app(client, origins=["https://shop.example.org"]), new_app(client)
    point = base64.urlsafe_b64decode(first["public_key"] + "=")
    assert (len(point), point[0]) == (POINT_BYTES, 4)
    assert first["public_key"] != second["public_key"]
    assert first["id"] == first["public_id"]
    assert {each["id"] for each in client.get("/push/apps").data} == {first["id"], second["id"]}
    assert client.get(f"/push/apps/{first['id']}").data == first
    if server.shared_url:
        return

    async def plain(store: Any) -> int:
        found = await sealed_secrets(store.database)
        return found.plain

    assert server.in_store(plain) == 0


def test_a_name_is_taken_once(client: Client) -> None:
    send(client, "POST", "/push/apps", name="Shop")
    again = send(client, "POST", "/push/apps", name=" Shop ")
    assert (again.status, again.code) == (409, "Conflict")
    other = new_app(client)
    assert send(client, "PATCH", f"/push/apps/{other['id']}", name="Shop").status == 409
    changed = send(client, "PATCH", f"/push/apps/{other['id']}", origins=["http://localhost:80"])
    assert changed.data["origins"] == ["http://localhost"]
    assert changed.data["public_key"] == other["public_key"]


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"name": ""},
        {"name": 7},
        {"name": "a", "origins": ["shop.example.org"]},
        {"name": "a", "origins": ["https://shop.example.org/path"]},
        {"name": "a", "origins": ["javascript:alert(1)"]},
        {"name": "a", "origins": ["https://a b"]},
        {"name": "a", "origins": ["https://a.example"] * 51},
        {"name": "a", "origins": "https://a.example"},
        {"name": "a", "worker_path": "worker.js"},
        {"name": "a", "fcm_app": {"project_id": "p"}},
        {"name": "a", "fcm_app": []},
        {"name": "a", "orgins": []},
    ],
)
def test_an_invalid_app_is_rejected(client: Client, members: dict[str, Any]) -> None:
    answer = send(client, "POST", "/push/apps", **members)
    assert (answer.status, answer.code) == (422, "ValidationError")
    assert client.get("/push/apps").data == []


def test_clients_of_a_deleted_app_are_rejected(client: Client, anybody: Client) -> None:
    app_id = new_app(client)["id"]
    web = Phone(anybody, app_id)
    assert web.send("init").status == 200
    assert client.request("DELETE", f"/push/apps/{app_id}").status == 204
    assert client.request("DELETE", f"/push/apps/{app_id}").status == 404
    wait_until(lambda: web.send("init").status == 404, WAIT_SECONDS_MAX)
    assert client.get(f"/push/devices?app_id={app_id}").status == 404


def test_devices_are_listed_page_by_page_and_by_what_they_are(
    client: Client, anybody: Client
) -> None:
    app_id = new_app(client)["id"]
    phones = [Phone(anybody, app_id) for _ in range(5)]
    for phone in phones:
        phone.send("init", environment="production")
    phones[0].send("register", web_push_subscription=subscription())
    mobile = Phone(anybody, app_id, "android")
    mobile.send("register", registration_id="token", environment="development")
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = client.get(
            f"/push/devices?app_id={app_id}&limit=2" + (f"&cursor={cursor}" if cursor else "")
        )
        assert answer.status == 200, answer.body
        found += [each["device_id"] for each in answer.data]
        cursor = answer.json()["next_cursor"]
    assert found == [mobile.device_id, *(phone.device_id for phone in reversed(phones))]

    def ids(query: str) -> set[str]:
        answer = client.get(f"/push/devices?app_id={app_id}&{query}")
        return {each["device_id"] for each in answer.data}

    assert ids("environment=development") == {mobile.device_id}
    assert ids("platform=android&environment=production") == set()
    assert ids("subscribed=true") == {mobile.device_id, phones[0].device_id}
    assert len(ids("subscribed=false")) == 4
    for query in ("", "?app_id=a%20b", f"?app_id={app_id}&platform=tv"):
        assert client.get(f"/push/devices{query}").status == 422
    assert client.get("/push/devices?app_id=nosuchapp0").status == 404
    assert client.get(f"/contacts/{NOBODY}/devices").status == 404


def test_a_device_is_deleted(client: Client, anybody: Client) -> None:
    web = Phone(anybody, new_app(client)["id"])
    web.track("a")
    target = f"/push/apps/{web.app_id}/devices/{web.device_id}"
    assert client.get(target).data["kept_events"] == 1
    assert client.request("DELETE", target).status == 204
    assert client.get(target).status == 404
    web.track("b")
    assert client.get(target).data["kept_events"] == 1


def test_a_device_shows_its_last_activity(client: Client, anybody: Client) -> None:
    web = Phone(anybody, new_app(client)["id"])
    web.send("init", permission_status="not_determined", device_model="Pixel", timezone="UTC")
    shown = web.shown(client)
    assert shown["permission"] == "not_determined"
    assert (shown["device_model"], shown["timezone"]) == ("Pixel", "UTC")
    assert shown["last_active_at"] <= time.strftime("%Y-%m-%dT%H:%M:%S.999Z", time.gmtime())
    assert shown["notifications"] == []
