"""Commands that list what a project has, over HTTP."""

import json
from typing import Any

import pytest

from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
URL = "https://hooks.invalid/orders"


def run(server: RunningServer, *arguments: str) -> Any:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace(*arguments, "--json", env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text_of(server: RunningServer, *arguments: str) -> str:
    done = headrace(*arguments, env={"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_events_are_listed_newest_first(server: RunningServer) -> None:
    names = [f"listed.n{n}" for n in range(3)]
    for name in names:
        server.ask("/events", {"event": name, "external_id": "lister"})

    found = run(server, "events", "list", "--event", "listed.*", "--limit", "2")
    assert [each["event"] for each in found] == names[:0:-1]
    assert "listed.n2" in text_of(server, "events", "list", "--external-id", "lister")
    assert run(server, "events", "list", "--event", "nothing.here") == []


def test_an_unknown_status_is_reported_with_those_known(server: RunningServer) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("events", "list", "--delivery-status", "lost", env=env)
    assert done.returncode == 1
    assert "partly_failed" in done.stderr


def test_contacts_topics_and_audiences(server: RunningServer) -> None:
    contact = server.ask("/contacts", {"external_id": "ada-of-lists", "email": "ada@x.example"})
    [found] = run(server, "contacts", "list", "--search", "ada-of")
    assert found["id"] == contact["data"]["id"]

    topic = run(server, "topics", "create", "News of lists", "--subscribed")["data"]
    assert topic["default_subscribed"] is True
    assert topic["id"] in text_of(server, "topics", "list")

    audience = text_of(server, "audiences", "create", "Beta of lists").strip()
    server.ask(f"/audiences/{audience}/contacts", {"contact_ids": [found["id"]]})
    assert [each["name"] for each in run(server, "audiences", "list")] == ["Beta of lists"]
    [member] = run(server, "audiences", "members", audience)
    assert member["external_id"] == "ada-of-lists"


def test_webhooks(server: RunningServer) -> None:
    created = run(
        server, "webhooks", "create", URL, "--event", "order.lists", "--header", "X-Key: a"
    )
    assert created["secret"].startswith("whsec_")
    webhook_id = created["id"]
    assert URL in text_of(server, "webhooks", "list")
    server.ask("/events", {"event": "order.lists", "external_id": "u"})
    wait_until(lambda: run(server, "webhooks", "deliveries", webhook_id) != [], "a delivery")
    assert run(server, "webhooks", "disable", webhook_id)["enabled"] is False
    assert "enabled" in text_of(server, "webhooks", "enable", webhook_id)
    assert run(server, "webhooks", "pause", webhook_id)["paused"] is True
    resumed = text_of(server, "webhooks", "resume", webhook_id, "--per-second", "20")
    assert "resumed at 20 a second" in resumed
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    tested = headrace("webhooks", "test", webhook_id, env=env)
    assert tested.returncode == 1
    assert "does not resolve" in tested.stdout
    run(server, "webhooks", "delete", webhook_id)
    assert webhook_id not in text_of(server, "webhooks", "list")


def test_events_are_sent_again(server: RunningServer) -> None:
    event = server.ask("/events", {"event": "order.again", "external_id": "u"})["data"]["id"]

    def processed() -> bool:
        return bool(server.ask(f"/events/{event}")["data"]["status"] == "processed")

    wait_until(processed, "the event is processed")
    made = [run(server, "webhooks", "create", URL, "--event", "order.again") for _ in range(2)]
    to = [part for each in made for part in ("--webhook", each["id"])]
    since = ("--since", "2026-01-01T00:00:00Z", "--event", "order.again")
    assert [
        each["count"] for each in run(server, "events", "resend", *to, *since, "--dry-run")
    ] == [
        1,
        1,
    ]
    assert event in text_of(server, "events", "resend", *to, *since, "--dry-run")

    jobs = run(server, "events", "resend", event, *to)

    assert [job["webhook_id"] for job in jobs] == [each["id"] for each in made]
    assert [(job["status"], job["done"]) for job in jobs] == [("done", 1)] * 2
    told = text_of(server, "events", "resend", *to, *since, "--only-failed", "--no-wait")
    assert told.count(" queued.") == 2
    for each in made:
        run(server, "webhooks", "delete", each["id"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((NOBODY,), "--webhook"),
        (("--webhook", NOBODY), "--since"),
        ((NOBODY, "--webhook", NOBODY, "--since", "2026-01-01T00:00:00Z"), "--since"),
        (("x", "--webhook", NOBODY), "not a valid ID"),
    ],
)
def test_sending_again_names_what_is_missing(
    server: RunningServer, arguments: tuple[str, ...], message: str
) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    done = headrace("events", "resend", *arguments, env=env)
    assert done.returncode == 2
    assert message in done.stderr


def test_rejections_are_listed(server: RunningServer) -> None:
    env = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    headrace("send", "--event", "Not A Name", "--external-id", "u", env=env)
    wait_until(lambda: "ValidationError" in text_of(server, "rejections", "list"), "the rejection")


@pytest.mark.parametrize(
    "arguments",
    [
        ("webhooks", "test", "nope"),
        ("audiences", "members", "nope"),
        ("webhooks", "create", "https://x.example", "--description", ""),
    ],
)
def test_wrong_arguments_end_in_one_line(server: RunningServer, arguments: tuple[str, ...]) -> None:
    done = headrace(*arguments, env={"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
