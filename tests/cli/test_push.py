"""`headrace push`: a push stopped, and tests sent, in the store of a running server."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta

from tests.support.audiences import NOBODY, send
from tests.support.commands import headrace_here
from tests.support.raw_http import Client
from tests.support.server import RunningServer


def test_a_scheduled_push_is_stopped(server: RunningServer) -> None:
    store = ("--store", server.store_url)
    made = headrace_here("push-app", "create", "Shop", "--json", *store)
    body = {
        "app_id": json.loads(made.stdout)["app_id"],
        "tokens": [{"token": "t", "platform": "ios"}],
        "notification": {"title": "Your order", "body": "It is on its way."},
        "scheduled_at": (datetime.now(UTC) + timedelta(days=30)).isoformat(),
    }
    with closing(Client(server.port, server.key)) as client:
        sent = send(client, "POST", "/push/notifications", **body)
        assert sent.status == 201, sent.body
        push_id = sent.data["id"]
        done = headrace_here("push", "stop", push_id.upper(), "--json", *store)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {
            "id": push_id,
            "stopped": True,
            "notifications": {"cancelled": 1},
        }
        shown = client.get(f"/push/notifications/{push_id}").data
        assert (shown["stopped"], shown["skipped"]) == (True, 1)
    again = headrace_here("push", "stop", push_id, *store)
    assert (again.returncode, "1 cancelled" in again.stdout) == (0, True)
    for unknown in (NOBODY, "no id"):
        failed = headrace_here("push", "stop", unknown, *store)
        assert (failed.returncode, "no push" in failed.stderr) == (1, True)


def test_a_template_is_tried_on_one_device(server: RunningServer) -> None:
    store = ("--store", server.store_url)
    made = headrace_here("push-app", "create", "Trials", "--json", *store)
    app_id = json.loads(made.stdout)["app_id"]
    push = {"locale": "en", "title": "Order {{ order_id }}", "message": "How was it?"}
    template = {"name": "Rating", "channel": "push", "messages": [push]}
    phone = {"app_id": app_id, "device_id": "d1", "platform": "ios", "registration_id": "t"}
    with closing(Client(server.port, server.key)) as client:
        assert send(client, "POST", "/templates", **template).status == 201
        assert send(client, "POST", "/v1/register", **phone).status == 200
        named = ("push", "test", app_id, "d1")
        values = ("--template", "Rating", "--variables", '{"order_id": 7}')
        done = headrace_here(*named, *values, "--json", *store)
        assert (done.returncode, done.stderr) == (0, "")
        shown = client.get(f"/push/notifications/{json.loads(done.stdout)['id']}").data
        assert [each["device_id"] for each in shown["notifications"]] == ["d1"]
    assert headrace_here(*named, *store).returncode == 0
    for wrong, words in (
        (("--template", "Rating"), "order_id"),
        (("--template", "None"), "no template"),
        (("--template", "Rating", "--variables", "[]"), "JSON object"),
    ):
        failed = headrace_here(*named, *wrong, *store)
        assert failed.returncode != 0
        assert words in failed.stderr
    unknown = headrace_here("push", "test", app_id, "d2", *store)
    assert (unknown.returncode, "unknown" in unknown.stderr) == (1, True)
