"""`headrace export`, and importing what it wrote."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import RunningServer, headrace, running_server


def export(server: RunningServer, *flags: str) -> list[dict[str, Any]]:
    done = headrace("export", *flags, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_events_come_out_as_the_api_shows_them_oldest_first(tmp_path: Path) -> None:
    with running_server(tmp_path, args=("--log-level", "error")) as server:
        for number in range(1203):
            batch = {"event": "a.b", "external_id": f"u{number}", "payload": {"n": number}}
            if number % 401 == 0:
                server.ask("/events", batch)
        found = [event for event in export(server) if event["source"] != "system"]
        assert [event["payload"]["n"] for event in found] == [0, 401, 802]
        shown = server.ask(f"/events/{found[0]['id']}")["data"]
        later = ("status", "contact_id", "attempts")
        assert {k: v for k, v in found[0].items() if k not in later} == {
            k: v for k, v in shown.items() if k not in later
        }


def test_filters(server: RunningServer) -> None:
    for name in ("filter.one", "filter.two"):
        server.ask("/events", {"event": name, "external_id": "u1"})
    [one] = export(server, "--event", "filter.one")
    assert one["event"] == "filter.one"
    assert one["id"] in {event["id"] for event in export(server, "--since", one["received_at"])}
    assert export(server, "--since", "2999-01-01T00:00:00Z") == []


def test_a_payload_over_many_lines_is_printed_on_one(server: RunningServer) -> None:
    server.ask("/events", {"event": "line.ends", "external_id": "u1"})
    sent = headrace(
        *("send", "--event", "line.ends", "--external-id", "u2"),
        *("--payload", '{\n  "a": 1.0,\r\n  "b": "\\n"\n}'),
        env={"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key},
    )
    assert sent.returncode == 0, sent.stderr
    done = headrace("export", "--event", "line.ends", "--store", server.store_url)
    assert done.stdout.count("\n") == 2
    assert '"payload":{   "a": 1.0,    "b": "\\n" }' in done.stdout


def test_an_export_can_be_imported_elsewhere_and_back(tmp_path: Path) -> None:
    file, other = tmp_path / "events.ndjson", ("--store", f"sqlite:///{tmp_path / 'other.db'}")
    with running_server(tmp_path) as server:
        events = [
            {"event": "a.b", "external_id": "u1", "payload": {"n": 1.50}, "idempotency_key": "k"},
            {"event": "a.c", "email": "Ann@Example.org", "occurred_at": "2020-01-02T03:04:05.6Z"},
        ]
        for event in events:
            server.ask("/events", event)
        report = headrace(
            *("export", "--importable", "--json", "--output", str(file)),
            *("--store", server.store_url),
        )
        assert json.loads(report.stdout) == {"events": 2, "output": str(file)}
        headrace("project", "create", "default", *other)
        moved = headrace("import", str(file), *other)
        assert (moved.returncode, moved.stdout[:19]) == (0, "2 lines: 2 accepted")
        back = headrace("import", str(file), "--json", "--key", server.key, "--url", server.url)
        counts = json.loads(back.stdout)
    # The line without a key, too: it is known by the id of its event.
    assert (counts["deduplicated"], counts["mismatched"]) == (2, 0)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (("--since", "yesterday"), 2, "--since must be an RFC 3339 time"),
        (("--project", "nowhere"), 2, "There is no project 'nowhere'"),
        (("--output", "/nowhere/events.ndjson"), 1, "cannot be written"),
        (("--json",), 2, "--output"),
    ],
)
def test_rejections(server: RunningServer, flags: tuple[str, ...], code: int, said: str) -> None:
    refused = headrace("export", *flags, "--store", server.store_url)
    assert refused.returncode == code
    assert said in refused.stderr


def test_until_limit_and_status(server: RunningServer) -> None:
    ids = [
        server.ask("/events", {"event": f"bounds.n{n}", "external_id": "b"})["data"]["id"]
        for n in range(4)
    ]
    events = [server.ask(f"/events/{event_id}")["data"] for event_id in ids]
    bounded = export(server, "--event", "bounds.*", "--until", events[2]["received_at"])
    received = [event["received_at"] for event in events]
    assert [each["id"] for each in bounded] == [
        event["id"] for event in events if event["received_at"] < received[2]
    ]
    first = export(server, "--event", "bounds.*", "--limit", "2")
    assert [each["id"] for each in first] == ids[:2]
    assert export(server, "--event", "bounds.*", "--status", "dead_lettered") == []


def test_a_name_that_no_event_can_have_is_rejected(server: RunningServer) -> None:
    done = headrace("export", "--event", "Order X", "--store", server.store_url)
    assert done.returncode == 2
    assert "--event" in done.stderr
