"""`headrace contacts`: exporting and erasing a person beside a running server."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from tests.support.forgetting import leave_copies
from tests.support.server import RunningServer, headrace
from tests.support.waiting import wait_until

NOBODY = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


def run(server: RunningServer, *arguments: str) -> str:
    done = headrace("contacts", *arguments, "--store", server.store_url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def acts(server: RunningServer, external_id: str, **payload: Any) -> str:
    """Send an event of a person; returns the contact's id."""
    sent = {"event": "a.b", "external_id": external_id, "payload": payload}
    event_id = server.ask("/events", sent)["data"]["id"]
    wait_until(
        lambda: server.ask(f"/events/{event_id}")["data"]["status"] == "processed",
        "the event is processed",
    )
    contact_id: str = server.ask(f"/events/{event_id}")["data"]["contact_id"]
    return contact_id


def test_export_writes_what_the_api_shows(server: RunningServer, tmp_path: Path) -> None:
    contact_id = acts(server, "cli-export-1", pet="cat")
    output = tmp_path / "person.json"
    told = json.loads(run(server, "export", contact_id, "--output", str(output), "--json"))
    assert told == {"contact_id": contact_id, "output": str(output)}
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    shown = json.loads(output.read_text())["data"]
    assert shown == server.ask(f"/contacts/{contact_id}/export")["data"]
    assert json.loads(run(server, "export", contact_id, "--no-mentions"))["data"]["contact"]


def test_erase_counts_first_and_then_removes(server: RunningServer) -> None:
    contact_id = acts(server, "cli-erase-1")
    acts(server, "cli-friend", friend="cli-erase-1")

    looked = json.loads(run(server, "erase", contact_id, "--dry-run", "--json"))
    assert (looked["dry_run"], looked["mentions"]["events"]) == (True, 1)
    refused = headrace("contacts", "erase", contact_id, "--store", server.store_url)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--yes" in refused.stderr
    assert server.ask(f"/contacts/{contact_id}")["data"]["external_id"] == "cli-erase-1"

    told = run(server, "erase", contact_id, "--yes", "--mask-mentions")
    assert "is done." in told
    assert "1 events of other people name the person; masked: 1." in told
    assert "payload.friend" in told
    assert "cli-erase-1" not in told
    assert "headrace compact" not in told

    leave_copies(server.store_path)
    assert "run: headrace compact" in run(server, "erase", contact_id, "--yes")


def test_unknown_person(server: RunningServer) -> None:
    for arguments in (("export", NOBODY), ("erase", NOBODY, "--yes")):
        done = headrace("contacts", *arguments, "--store", server.store_url)
        assert done.returncode == 1
        assert "No data about this contact" in done.stderr
    done = headrace("contacts", "export", "ann", "--store", server.store_url)
    assert done.returncode == 2
