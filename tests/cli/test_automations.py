"""Automations from the command line, beside a running server with its worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "abandoned-checkout.json"
NAME = "Abandoned checkout"
TEXT = "Your basket waits: {{ cart_url }}\n"


def run(server: RunningServer, *arguments: str) -> Any:
    done = headrace(*arguments, "--json", "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def text_of(server: RunningServer, *arguments: str) -> str:
    done = headrace(*arguments, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def send(server: RunningServer, event: str, **payload: Any) -> None:
    body = {"event": event, "email": "mike@example.com", "payload": payload}
    server.ask("/events", body)


def test_first_minutes_with_an_example(server: RunningServer, tmp_path: Path) -> None:
    created = text_of(server, "automation", "create", str(EXAMPLE))
    assert created.startswith("Created automation Abandoned checkout: ")
    refused = headrace("automation", "publish", NAME, "--store", server.store_url)
    assert refused.returncode == 1
    assert refused.stderr == "headrace: 4 problems keep it from being published.\n"
    assert "there is no published template 'Checkout reminder'" in refused.stdout

    text = tmp_path / "reminder.txt"
    text.write_text(TEXT, "utf-8")
    run(server, "domain", "create", "mail.example.com", "--verified")
    template = ("template", "create", "Checkout reminder", "--subject", "You forgot something")
    run(server, *template, "--text", str(text), "--publish")
    server.ask("/topics", {"name": "Shopping reminders", "default_subscribed": True})
    server.ask("/audiences", {"name": "Cold checkouts"})
    shorter = tmp_path / "shorter.json"
    shorter.write_text(EXAMPLE.read_text("utf-8").replace('"duration": "1 hour"', '"seconds": 1'))
    changed = text_of(server, "automation", "create", str(shorter), "--publish")
    assert changed.splitlines()[-1] == f"Published version 1 of {NAME}; it is active."

    for _ in range(2):
        send(server, "checkout.started", checkout_id="C-1", amount=4900, url="https://x.example/1")
    list_runs = ("automation", "runs", NAME)
    wait_until(lambda: [one["at_step"] for one in run(server, *list_runs)] == ["clicked"], "no run")
    (started,) = run(server, *list_runs)
    assert (started["status"], started["version_number"]) == ("waiting", 1)
    (rejected,) = run(server, "automation", "rejected", NAME)
    assert rejected["reason"] == "reentry_active"
    (message,) = run(server, "messages", "list")
    assert (message["to"], message["status"]) == ("mike@example.com", "sent")

    send(server, "order.completed", checkout_id="C-1")
    wait_until(lambda: run(server, *list_runs)[0]["status"] == "exited", "the run goes on")
    shown = text_of(server, "automation", "run", started["id"])
    assert shown.splitlines()[-1].endswith("The run was ended by an exit rule: order.completed.")
    document = run(server, "automation", "run", started["id"])
    assert [step["step_key"] for step in document["steps"]] == ["hour", "reminder", "clicked"]


def test_status_and_lists(server: RunningServer, tmp_path: Path) -> None:
    definition = {
        "trigger": {"event_name": "pinged"},
        "steps": [{"key": "a", "type": "delay", "config": {"duration_seconds": 60}}],
        "connections": [{"from": "trigger", "to": "a"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Ping", "definition": definition}), "utf-8")
    out = text_of(server, "automation", "create", str(path))
    assert "duration_seconds is now seconds" in out
    paused = headrace("automation", "pause", "Ping", "--store", server.store_url)
    assert (paused.returncode, paused.stderr) == (1, "headrace: It was never published.\n")
    run(server, "automation", "publish", "Ping")
    assert text_of(server, "automation", "pause", "Ping") == "Ping is paused.\n"
    text_of(server, "automation", "pause", "Ping", "--mode", "hold")
    dry = text_of(server, "automation", "resume", "Ping", "--dry-run")
    assert dry == "No run is overdue.\n"
    assert run(server, "automation", "resume", "Ping")["status"] == "active"
    (version,) = run(server, "automation", "versions", "Ping")
    assert version["version_number"] == 1
    assert text_of(server, "automation", "diff", "Ping", "1", "1") == "No difference.\n"
    restored = text_of(server, "automation", "restore", "Ping", "1")
    assert restored == "The draft of Ping is that of version 1.\n"
    assert run(server, "automation", "duplicate", "Ping")["name"] == "Copy of Ping"
    same = ("automation", "migrate-runs", "Ping", "--from", "1", "--to", "1", "--dry-run")
    assert "to_version: must differ" in headrace(*same, "--store", server.store_url).stderr
    listed = run(server, "automation", "list", "--status", "active")
    assert "Ping" in [one["name"] for one in listed]
    shown = run(server, "automation", "show", "Ping")
    assert shown["definition"]["steps"][0]["config"] == {"seconds": 60}
    assert run(server, "automation", "archive", "Ping")["status"] == "archived"
    unknown = headrace("automation", "runs", "Ping", "--store", server.store_url)
    assert unknown.stderr == "headrace: There is no automation 'Ping' in this project.\n"


def test_unreadable_definition_is_refused(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"name": "X", "definition": {"trigger": {"event_name": "a", "x": 1}}}')
    done = headrace("automation", "create", str(path), "--store", server.store_url)
    assert done.returncode == 2
    assert "definition.trigger.x: is an unknown field" in done.stderr


def test_runs_are_cancelled_in_bulk(server: RunningServer, tmp_path: Path) -> None:
    definition = {
        "trigger": {"event_name": "bulk.began"},
        "steps": [{"key": "a", "type": "delay", "config": {"seconds": 3600}}],
        "connections": [{"from": "trigger", "to": "a"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Bulk", "definition": definition}), "utf-8")
    text_of(server, "automation", "create", str(path), "--publish")
    for _ in range(2):
        send(server, "bulk.began")
    listed = ("automation", "runs", "Bulk", "--status", "waiting")
    wait_until(lambda: len(run(server, *listed)) == 2, "no runs")
    first = run(server, *listed)[0]["id"]
    assert len(run(server, *listed, "--version", "1", "--at-step", "a")) == 2
    assert run(server, *listed, "--version", "2") == []
    (version,) = run(server, "automation", "stats", "Bulk")["versions"]
    assert [(step["step_key"], step["waiting"]) for step in version["steps"]] == [("a", 2)]
    assert text_of(server, "automation", "stats", "Bulk").splitlines()[-1].split()[:3] == [
        *("1", "a", "2")
    ]
    contact_id = run(server, *listed)[0]["contact_id"]
    forgotten = ("automation", "forget-entries", "Bulk", "--contact-id", contact_id)
    assert "are forgotten" in text_of(server, *forgotten)
    text_of(server, "automation", "cancel-run", first, "--reason", "a test")
    failed = headrace(
        *("automation", "retry-run", first, "--reason", "x"), "--store", server.store_url
    )
    assert failed.stderr == ("headrace: Only a failed run can be retried; this one is cancelled.\n")
    dry = run(server, "automation", "cancel-runs", "Bulk", "--at-step", "a", "--dry-run")
    assert (dry["count"], dry["has_more"]) == (1, False)
    done = text_of(server, "automation", "cancel-runs", "Bulk", "--reason", "a test")
    assert done == "1 run cancelled.\n"
    assert run(server, *listed) == []
    assert run(server, "automation", "retry-runs", "Bulk", "--reason", "x") == {"count": 0}


def test_person_and_event_are_explained(server: RunningServer, tmp_path: Path) -> None:
    definition = {
        "trigger": {"event_name": "explained", "filters": {"n_gte": 10}},
        "steps": [{"key": "a", "type": "delay", "config": {"seconds": 60}}],
        "connections": [{"from": "trigger", "to": "a"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"name": "Why", "definition": definition}), "utf-8")
    run(server, "automation", "create", str(path), "--publish")
    body = {"event": "explained", "email": "ann@example.com", "payload": {"n": 1}}
    sent = server.ask("/events", body)["data"]
    of_person = ("automation", "explain", "Why", "--email", "ANN@example.com")
    wait_until(
        lambda: server.ask(f"/events/{sent['id']}")["data"]["status"] == "processed", "processed"
    )
    wait_until(
        lambda: run(server, *of_person)["events"][0]["verdict"] == "filter_not_met", "not met"
    )
    text = text_of(server, *of_person)
    assert text.splitlines()[0] == "Why is active and starts with explained."
    assert "n gte 10 does not hold" in text
    assert "[filter_not_met] (evaluated now)" in text
    (one,) = run(server, "automation", "explain", "--event", sent["id"])
    assert (one["automation_name"], one["verdict"]) == ("Why", "filter_not_met")
    for wrong in (("Why",), (), ("Why", "--email", "x"), ("--event", "x")):
        done = headrace("automation", "explain", *wrong, "--store", server.store_url)
        assert done.returncode == 2, done.stdout
    unknown = ("automation", "explain", "Why", "--external-id", "nobody")
    done = headrace(*unknown, "--store", server.store_url)
    assert done.stderr == "headrace: There is no such contact in this project.\n"
