"""A push in a real browser: sent, decrypted, shown once although it came twice, and tapped."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Worker

from tests.support.http_server import wait_until
from tests.support.push_service import PushService, push_service
from tests.support.server import RunningServer, running_server

PAGE = Path(__file__).parents[2] / "data" / "push_page"
DEVICE = "2f0c7a0e-6d8e-4a8f-9b7c-1d2e3f405162"
WAIT_SECONDS_MAX = 30.0
#: What the user sees, and what a tap on it does: the browser has no window for notifications.
SHOWN = """async () => (await self.registration.getNotifications())
    .map((one) => [one.title, one.body, one.tag, one.actions.map((each) => each.action)])"""
TAP = """async (action) => {
    const [notification] = await self.registration.getNotifications();
    self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action }));
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def site() -> Iterator[str]:
    """Origin of a website with a service worker."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(PAGE)))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def service() -> Iterator[PushService]:
    with push_service() as running:
        yield running


@pytest.fixture
def sender(tmp_path: Path, service: PushService) -> Iterator[RunningServer]:
    """A server that may call the push service of this test."""
    settings = {
        "HEADRACE_PUSH_HOSTS": service.origin,
        "HEADRACE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    with running_server(tmp_path, env=settings) as running:
        yield running


class Api:
    """Requests with the server's first key."""

    def __init__(self, server: RunningServer) -> None:
        headers = {"authorization": f"Bearer {server.key}"}
        self.client = httpx.Client(base_url=server.url, headers=headers, timeout=20)

    def post(self, path: str, **members: Any) -> Any:
        answer = self.client.post(path, json=members)
        assert answer.is_success, answer.text
        return answer.json()["data"]

    def get(self, path: str) -> Any:
        answer = self.client.get(path)
        assert answer.is_success, answer.text
        return answer.json()["data"]


def install(context: BrowserContext, site: str, url: str) -> tuple[Worker, CDPSession, str]:
    """Open the site and start its worker; returns it, and how to hand pushes to it."""
    context.grant_permissions(["notifications"], origin=site)
    page = context.new_page()
    page.goto(f"{site}/index.html")
    session = context.new_cdp_session(page)
    registrations: list[str] = []

    def registered(event: Any) -> None:
        registrations.extend(one["registrationId"] for one in event["registrations"])

    session.on("ServiceWorker.workerRegistrationUpdated", registered)
    session.send("ServiceWorker.enable")
    with context.expect_event("serviceworker") as started:
        page.evaluate(
            "async (url) => { await navigator.serviceWorker.register(url); "
            "await navigator.serviceWorker.ready; }",
            url,
        )
    while not registrations:
        page.wait_for_load_state()
        page.evaluate("() => new Promise((done) => setTimeout(done, 20))")
    return started.value, session, registrations[-1]


def test_a_push_is_shown_once_and_a_tap_is_one_opening(
    browser: Browser, site: str, service: PushService, sender: RunningServer
) -> None:
    api = Api(sender)
    app_id = api.post("/push/apps", name="Shop", origins=[site])["id"]
    subscription = service.subscription("chromium")
    keys = {"p256dh": subscription.p256dh, "auth": subscription.auth}
    api.post(
        "/v1/register",
        app_id=app_id,
        device_id=DEVICE,
        platform="web",
        environment="production",
        subscribed=True,
        permission_status="authorized",
        user_external_id="ann",
        web_push_subscription={"endpoint": subscription.endpoint, "keys": keys},
    )
    sent = api.post(
        "/push/notifications",
        app_id=app_id,
        external_ids=["ann"],
        notification={"title": "Grüße", "body": "It is on its way."},
        buttons=[{"id": "track", "text": "Track it"}],
    )
    (got,) = service.wait_for(1)
    payload = subscription.decrypt(got.body).decode()
    notification_id = sent["notifications"][0]["id"]

    context = browser.new_context()
    try:
        url = f"/worker.js?api={sender.url}&app={app_id}&device={DEVICE}"
        worker, session, registration = install(context, site, url)
        push = {"origin": site, "registrationId": registration, "data": payload}
        for _ in range(2):
            session.send("ServiceWorker.deliverPushMessage", push)
        wait_until(lambda: worker.evaluate(SHOWN), WAIT_SECONDS_MAX)
        session.send("ServiceWorker.deliverPushMessage", push)
        expected = [["Grüße", "It is on its way.", notification_id, ["track"]]]
        wait_until(lambda: worker.evaluate(SHOWN) == expected, WAIT_SECONDS_MAX)
        worker.evaluate(TAP, "track")

        def opened() -> list[Any]:
            return list(api.get("/events?event=sendrealm.push.open"))

        wait_until(lambda: len(opened()) == 1, WAIT_SECONDS_MAX)
        (event,) = opened()
        assert event["payload"]["notification_id"] == notification_id
        assert event["payload"]["action_id"] == "track"
        assert worker.evaluate(SHOWN) == []
    finally:
        context.close()
    shown = api.get(f"/push/notifications/{sent['id']}")["notifications"]
    assert [one["status"] for one in shown] == ["sent"]
    assert shown[0]["opened_at"] is not None
    assert len(opened()) == 1
    api.client.close()
