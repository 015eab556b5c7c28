"""A worker that is killed at its commits neither loses nor repeats anything of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.server import RunningServer, running_server
from tests.support.waiting import wait_until

GROUPS, PEOPLE = 2, 5
SECONDS_MAX = 90.0
DEFINITION: dict[str, Any] = {
    "trigger": {"event_name": "go"},
    "steps": [
        {"key": "tell", "type": "emit_event", "config": {"event_name": "told"}},
        {"key": "rest", "type": "delay", "config": {"seconds": 1}},
        {"key": "mark", "type": "contact_update", "config": {"set": {"properties.n": 1}}},
        {"key": "again", "type": "emit_event", "config": {"event_name": "told_again"}},
    ],
    "connections": [
        {"from": "trigger", "to": "tell"},
        {"from": "tell", "to": "rest"},
        {"from": "rest", "to": "mark"},
        {"from": "mark", "to": "again"},
    ],
}


def runs(server: RunningServer, automation_id: str, status: str = "") -> int:
    query = f"&status={status}" if status else ""
    return len(server.ask(f"/automations/{automation_id}/runs?limit=200{query}")["data"])


def count(server: RunningServer, event: str) -> int:
    return len(server.ask(f"/events?event={event}&limit=200")["data"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "automation_committed:kill:1",
        # The first batch of events and that of timers are committed, the next one is not.
        "automation_inside_commit:kill:3",
    ],
)
def test_killed_worker_performs_every_effect_once(tmp_path: Path, point: str) -> None:
    environment = {"HEADRACE_FAIL_POINT": point}
    with running_server(tmp_path, env=environment) as server:
        made = server.ask("/automations", {"name": "Kills", "definition": DEFINITION})["data"]
        server.ask(f"/automations/{made['id']}/publish", {})
        for group in range(GROUPS):
            for person in range(PEOPLE):
                server.ask("/events", {"event": "go", "external_id": f"person-{group}-{person}"})
            started = PEOPLE * (group + 1)
            wait_until(
                lambda started=started: runs(server, made["id"]) == started,  # type: ignore[misc]
                f"{started} runs",
                SECONDS_MAX,
            )
        total = GROUPS * PEOPLE
        wait_until(
            lambda: runs(server, made["id"], "completed") == total, "all completed", SECONDS_MAX
        )
        assert (count(server, "told"), count(server, "told_again")) == (total, total)
        assert "worker.died" in server.log_path.read_text("utf-8")
