"""Push apps, devices and notifications for tests."""

from __future__ import annotations

import base64
import itertools
import json
import os
import uuid
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.domain.messages.places import lane_of_uuid
from headrace.domain.timestamps import now_us
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from tests.support.audiences import send
from tests.support.http_server import HttpServer
from tests.support.raw_http import Client, Response

_NOTIFY = sql(
    "INSERT INTO push_notifications (lane, id, project_id, app_id, platform, device_id, "
    "contact_id, state, created_us, finished_us) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, 'sent', $8, $8)"
)
_numbers = itertools.count(1)


def coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def subscription(host: str = "fcm.googleapis.com", **more: Any) -> dict[str, Any]:
    """A subscription as a browser makes it, at a push service."""
    point = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    )
    endpoint = f"https://{host}/send/{uuid.uuid4().hex}"
    keys = {"p256dh": coded(point), "auth": coded(os.urandom(16))}
    return {"endpoint": endpoint, "expirationTime": None, "keys": keys, **more}


def new_app(client: Client, **members: Any) -> dict[str, Any]:
    answer = send(client, "POST", "/push/apps", name=f"App {next(_numbers)}", **members)
    assert answer.status == 201, answer.body
    shown: dict[str, Any] = answer.data
    return shown


@dataclass
class Phone:
    """A client of a push app, as its library sends requests."""

    client: Client
    app_id: str
    platform: str = "web"
    device_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, path: str, method: str = "POST", **members: Any) -> Response:
        body = {"app_id": self.app_id, "device_id": self.device_id, "platform": self.platform}
        data = json.dumps({**body, **members}).encode()
        return self.client.request(method, f"/v1/{path}", body=data, headers=self.headers)

    def track(self, name: str, **members: Any) -> Response:
        return self.send("track", event_type=name, **members)

    def login(self, external_id: str, **members: Any) -> Response:
        answer = self.send("register", user_external_id=external_id, **members)
        assert answer.status == 200, answer.body
        return answer

    def shown(self, key: Client) -> dict[str, Any]:
        """The device, as the API shows it."""
        answer = key.get(f"/push/apps/{self.app_id}/devices/{self.device_id}")
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.data
        return found


def add_notification(
    server: HttpServer, project_id: int, phone: Phone, contact_id: str | None = None
) -> str:
    """The id of a notification that was sent to a device."""
    notification_id = str(uuid.uuid4())
    values = (project_id, phone.app_id, phone.platform, phone.device_id, contact_id, now_us())

    async def work(tx: Transaction) -> None:
        await tx.run(_NOTIFY, lane_of_uuid(notification_id), notification_id, *values)

    server.in_store(lambda store: store.database.write(work))
    return notification_id
