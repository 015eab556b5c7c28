"""`headrace dead-letters`, and the trace that `headrace events show` prints."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from headrace.domain.ids import sequence_of_id
from tests.support.dead_letters import DeadLetterRows, sql_on
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def run(server: RunningServer, *arguments: str) -> str:
    done = headrace("dead-letters", *arguments, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(server: RunningServer) -> DeadLetterRows:
    return DeadLetterRows(sql_on(Path(server.store_url.removeprefix("sqlite:///"))))


def processed(server: RunningServer, event: str = "order.completed") -> str:
    event_id: str = server.ask("/events", {"event": event, "external_id": "u1"})["data"]["id"]

    def done() -> bool:
        return bool(server.ask(f"/events/{event_id}")["data"]["status"] == "processed")

    wait_until(done, "the event is processed")
    return event_id


def dead(server: RunningServer, event: str = "order.completed") -> tuple[str, str]:
    """Ids of an event and of its dead letter."""
    event_id = processed(server, event)
    place = sequence_of_id(uuid.UUID(event_id).bytes)
    return event_id, rows_of(server).processing(place)


def listed(server: RunningServer, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(run(server, "list", "--json", *arguments))
    return found


def test_list_is_what_the_api_shows(server: RunningServer) -> None:
    event_id, dead_letter_id = dead(server, "list.me")
    [shown] = listed(server, "--event", "list.me")
    assert [shown] == server.ask("/dead-letters?event=list.me")["data"]
    assert (shown["id"], shown["event_id"]) == (dead_letter_id, event_id)
    lines = run(server, "list", "--event", "list.me", "--limit", "1").splitlines()
    assert lines[0].startswith("ID ")
    assert dead_letter_id in lines[1]


def test_groups_are_what_the_api_shows(server: RunningServer) -> None:
    for _ in range(2):
        dead(server, "group.me")
    found = json.loads(run(server, "groups", "--event", "group.me", "--json"))
    assert found == server.ask("/dead-letters/groups?event=group.me")["data"]
    assert found[0]["count"] == 2
    assert "group.me" in run(server, "groups")


def test_one_is_replayed_once(server: RunningServer) -> None:
    event_id, dead_letter_id = dead(server)
    assert run(server, "replay", dead_letter_id.upper()).startswith("Queued again")
    again = headrace("dead-letters", "replay", dead_letter_id, "--store", server.store_url)
    assert (again.returncode, again.stdout) == (1, "")
    assert "already replayed or discarded" in again.stderr

    def done() -> bool:
        return bool(server.ask(f"/events/{event_id}")["data"]["status"] == "processed")

    wait_until(done, "the event is processed again")


def test_many_are_replayed_and_waited_for(server: RunningServer) -> None:
    for _ in range(3):
        dead(server, "many.failed")
    filters = ("--event", "many.failed", "--kind", "processing")
    look = json.loads(run(server, "replay", *filters, "--dry-run", "--json"))
    assert (look["count"], len(look["sample"])) == (3, 3)
    assert run(server, "replay", *filters, "--dry-run").startswith("3 would be replayed.")

    done = json.loads(run(server, "replay", *filters, "--json"))

    assert (done["status"], done["done"], done["total"]) == ("done", 3, 3)
    assert server.ask(f"/replays/{done['id']}")["data"].items() >= done.items()
    assert listed(server, *filters) == []


def test_a_job_need_not_be_waited_for(server: RunningServer) -> None:
    told = run(server, "replay", "--cause", "NothingLikeItError", "--no-wait")
    assert told.endswith("is done: 0 of 0 replayed.\n")


def test_one_is_discarded_with_a_reason(server: RunningServer) -> None:
    event_id, dead_letter_id = dead(server)
    assert run(server, "discard", dead_letter_id, "--reason", "a test").startswith("Discarded")
    shown = headrace("events", "show", event_id, "--store", server.store_url).stdout
    assert "The dead letter was discarded by cli: a test.\n" in shown


def test_show_prints_the_trace(server: RunningServer) -> None:
    event_id, _ = dead(server)
    client = {"HEADRACE_URL": server.url, "HEADRACE_KEY": server.key}
    ways = [
        headrace("events", "show", event_id, env=client),
        headrace("events", "show", event_id, "--store", server.store_url),
    ]
    assert ways[0].stdout == ways[1].stdout
    trace = ways[0].stdout.split("\n\n")[1].splitlines()
    assert any("Received via the API with key" in line for line in trace)
    assert f"{'':26}StoreRowError: it would not go" in trace
    as_json = json.loads(headrace("events", "show", event_id, "--json", env=client).stdout)
    assert as_json["trace"] == server.ask(f"/events/{event_id}/trace")["data"]["entries"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("list", "--event", "A"), 2, "--event must be"),
        (("list", "--cause", "%", "--kind", "x"), 2, "--kind must be one of"),
        (("list", "--subscriber-id", "1"), 2, "--subscriber-id must be a UUID"),
        (("list", "--project", "nowhere"), 2, "There is no project"),
        (("list", "--limit", "0"), 2, "--limit"),
        (("replay",), 2, "or --all"),
        (("replay", NOBODY, "--all"), 2, "or --all"),
        (("replay", NOBODY, "--dry-run"), 2, "--dry-run works with"),
        (("replay", "not-an-id"), 2, "is not a valid dead letter ID"),
        (("replay", NOBODY), 1, "Dead letter not found"),
        (("replay", "--all", "--per-second", "0"), 2, "--per-second"),
        (("discard", NOBODY), 2, "--reason"),
        (("discard", NOBODY, "--reason", " "), 2, "The reason must be"),
        (("discard", NOBODY, "--reason", "x\x1b[2J"), 2, "control characters"),
        (("discard", NOBODY, "--reason", "why"), 1, "Dead letter not found"),
    ],
)
def test_rejections(
    server: RunningServer, arguments: tuple[str, ...], code: int, said: str
) -> None:
    refused = headrace("dead-letters", *arguments, "--store", server.store_url)
    assert refused.returncode == code
    assert said in refused.stderr
    assert refused.stdout == ""
