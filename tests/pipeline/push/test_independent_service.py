"""Pushes to `web-push-testing`, which subscribes, decrypts and checks VAPID by itself."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.push.kinds import DeviceState
from tests.support import mail, pushes
from tests.support.ports import free_port
from tests.support.push_service import Subscription
from tests.support.session import StoreSession

NODE = Path(__file__).parents[2] / "delivery" / "node"


class Service:
    """The running service."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def call(self, path: str, **members: Any) -> Any:
        request = urllib.request.Request(  # noqa: S310 - on loopback
            f"{self.origin}/{path}",
            json.dumps(members).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - on loopback
            text = response.read()
        return json.loads(text)["data"] if text.startswith(b"{") else None

    def messages(self, client: str) -> list[Any]:
        found = self.call("get-notifications", clientHash=client)["messages"]
        return [json.loads(each) for each in found]


@pytest.fixture
def service() -> Iterator[Service]:
    assert (NODE / "node_modules" / "web-push-testing").is_dir(), (
        "the npm package is absent: npm ci --prefix tests/delivery/node"
    )
    port = free_port()
    command = ["node", "push_service.mjs", str(port)]
    with subprocess.Popen(command, cwd=NODE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "running" in process.stdout.readline()
            yield Service(f"http://localhost:{port}")
        finally:
            process.kill()


class Browser(Subscription):
    """A subscription of the service, whose keys are there."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data["endpoint"])
        self.client = data["clientHash"]
        self._keys = data["keys"]

    @property
    def p256dh(self) -> str:
        return str(self._keys["p256dh"])

    @property
    def auth(self) -> str:
        return str(self._keys["auth"])


def test_subscribe_receive_and_expire(session: StoreSession, service: Service) -> None:
    project = mail.new_project(session)
    app_id = pushes.new_app(session, project)
    app = session.run(session.store.push.apps.get(project, app_id))
    assert app is not None
    options = {"userVisibleOnly": "true", "applicationServerKey": app.vapid_public_key}
    browser = Browser(service.call("subscribe", **options))
    pushes.register(session, project, app_id, "d1", browser, locale="de")
    german = {"code": "de", "title": "Grüße", "body": "x" * 1500}

    sent = pushes.send(session, project, app_id, messages=[german])
    pushes.work(session, service.origin, mail.OWNER)
    assert pushes.states(session, sent) == {"sent": 1}
    (got,) = service.messages(browser.client)
    assert got["sendrealm_v1"]["notification"] == {"title": "Grüße", "body": "x" * 1500}
    (notification,) = pushes.found(session, sent).notifications
    assert got["sendrealm_v1"]["metadata"]["notification_id"] == notification.id

    service.call(f"expire-subscription/{browser.client}")
    sent = pushes.send(session, project, app_id)
    pushes.work(session, service.origin, mail.OWNER)
    assert pushes.states(session, sent) == {"failed": 1}
    history = session.run(session.store.push.devices.history(app_id, "d1"))
    assert history is not None
    assert (history.device.state, history.device.reason) == (DeviceState.UNSUBSCRIBED, "gone")
    assert len(service.messages(browser.client)) == 1


def test_a_subscription_with_another_key_is_our_mistake(
    session: StoreSession, service: Service
) -> None:
    """The service checks the signature: without it the first test would show less."""
    project = mail.new_project(session)
    app_id = pushes.new_app(session, project)
    other = session.run(
        session.store.push.apps.get(project, pushes.new_app(session, project, "other"))
    )
    assert other is not None
    options = {"userVisibleOnly": "true", "applicationServerKey": other.vapid_public_key}
    browser = Browser(service.call("subscribe", **options))
    pushes.register(session, project, app_id, "d1", browser)
    sent = pushes.send(session, project, app_id)
    pushes.work(session, service.origin, mail.OWNER)
    assert pushes.states(session, sent) == {"failed": 1}
    assert service.messages(browser.client) == []
