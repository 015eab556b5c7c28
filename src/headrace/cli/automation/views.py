"""Automations and runs as commands show them: in the API's form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from headrace.domain.timestamps import to_text

if TYPE_CHECKING:
    from headrace.store.contract.automations import Automation, RunRow, RunStats


def automation_view(of: Automation) -> dict[str, Any]:
    """An automation without its definition."""
    return {
        "id": of.id,
        "name": of.name,
        "description": of.description,
        "status": of.status.value,
        "pause_mode": of.pause_mode,
        "version_number": of.version or None,
        "has_draft_changes": of.has_draft_changes,
        "created_at": to_text(of.created_us),
        "updated_at": to_text(of.updated_us),
    }


def run_view(of: RunRow) -> dict[str, Any]:
    """A run without its steps."""
    return {
        "id": of.id,
        "automation_id": of.automation_id,
        "version_number": of.version,
        "contact_id": of.contact_id,
        "status": of.status.value,
        "status_reason": of.reason,
        "outcome": of.outcome,
        "at_step": of.at_step,
        "started_at": to_text(of.started_us),
        "finished_at": None if of.finished_us is None else to_text(of.finished_us),
        "next_at": None if of.due_us is None else to_text(of.due_us),
        "last_error": of.error,
    }


def stats_view(of: RunStats | None) -> dict[str, Any]:
    """Counts by version and step, as the API has them."""
    if of is None:
        return {"runs_examined": 0, "has_more": False, "versions": []}
    return {
        "runs_examined": of.examined,
        "has_more": of.more,
        "versions": [
            {
                "version_number": one.version,
                "runs": one.runs,
                "steps": [msgspec.structs.asdict(step) for step in one.steps],
            }
            for one in of.versions
        ],
    }
