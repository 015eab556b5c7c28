"""`headrace alerts`: open alerts of all projects, with what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from headrace.domain.timestamps import now_us
from headrace.domain.upkeep.alerts import AlertKind, Level, Reading
from headrace.stores import open_store
from tests.support.commands import headrace_here


async def _begin(url: str) -> None:
    store = await open_store(url, serve=False)
    try:
        project = await store.projects.create("shop", now_us(), actor="test")
        readings = [
            Reading(
                project_id=project_id,
                kind=kind,
                subject="example.org example.net",
                level=Level.BAD,
                detail="example.net rejects example.org: 550 5.7.26",
            )
            for project_id, kind in (
                (project.id, AlertKind.SENDER_REJECTED),
                (0, AlertKind.DEAD_LETTERS_GROWING),
            )
        ]
        await store.alerts.apply(readings, now_us(), ())
    finally:
        await store.close()


def test_open_alerts_are_shown_with_what_to_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'headrace.db'}"
    assert headrace_here("migrate", "--store", url).returncode == 0
    assert headrace_here("alerts", "--store", url).stdout == "No alert is open.\n"
    asyncio.run(_begin(url))

    shown = json.loads(headrace_here("alerts", "--json", "--store", url).stdout)
    assert {(one["project"], one["kind"]) for one in shown} == {
        ("shop", "sender_rejected"),
        (None, "dead_letters_growing"),
    }
    text = headrace_here("alerts", "--store", url).stdout
    assert "example.net rejects example.org: 550 5.7.26" in text
    assert "sender_rejected: Open the page of the domain" in text
