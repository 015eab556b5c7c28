"""Runs as they are shown and exported."""

from __future__ import annotations

from typing import Any

from headrace.domain.automations.running.runs import Event, StepRecord, Wait
from headrace.domain.timestamps import to_text
from headrace.store.automations.run_rows import payload_text
from headrace.store.contract.automations import EntryRow, NoteRow, RejectedStart, RunDetail


def run_exported(detail: RunDetail) -> dict[str, Any]:
    """A run with everything that is kept about it, for its contact."""
    row, run = detail.row, detail.run
    return {
        "id": row.id,
        "automation_id": row.automation_id,
        "version_number": row.version,
        "contact_id": row.contact_id,
        "status": row.status.value,
        "reason": row.reason,
        "outcome": row.outcome,
        "started_at": to_text(row.started_us),
        "finished_at": time_text(row.finished_us),
        "trigger_event": _event(run.trigger),
        "steps": [_step(step) for step in run.steps],
        "waits": [_wait(wait) for wait in run.waits],
        "timeline": [note_document(note) for note in detail.notes],
    }


def note_document(note: NoteRow) -> dict[str, Any]:
    """A note of a run."""
    return {
        "at": to_text(note.at_us),
        "step_key": note.step_key,
        "reason": note.reason.value,
        "sentence": note.sentence,
    }


def rejected_document(one: RejectedStart) -> dict[str, Any]:
    """An event that started no run."""
    return {
        "automation_id": one.automation_id,
        "version_number": one.version,
        "event_id": one.event_id,
        "contact_id": one.contact_id,
        "reason": one.reason.value,
        "sentence": one.sentence,
        "at": to_text(one.at_us),
    }


def entry_document(one: EntryRow) -> dict[str, Any]:
    """When a contact last started an automation."""
    return {
        "automation_id": one.automation_id,
        "key": one.entry_key,
        "last_start_at": to_text(one.last_start_us),
        "starts": one.starts,
    }


def time_text(at_us: int | None) -> str | None:
    """A time, None when it has not come."""
    return None if at_us is None else to_text(at_us)


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "event_name": event.name,
        "payload": payload_text(event.payload),
        "occurred_at": to_text(event.occurred_us),
    }


def _step(step: StepRecord) -> dict[str, Any]:
    return {
        "step_key": step.key,
        "step_type": step.type.value,
        "status": step.status.value,
        "branch_taken": step.branch,
        "reason": step.reason,
        "started_at": to_text(step.started_us),
        "finished_at": time_text(step.finished_us),
        "attempts": step.attempts,
        "event": None if step.event is None else _event(step.event),
    }


def _wait(wait: Wait) -> dict[str, Any]:
    return {
        "id": wait.id,
        "step_key": wait.step_key,
        "kind": wait.kind.value,
        "status": wait.status.value,
        "waiting_for": [each.event_name for each in wait.awaited],
        "timeout_at": time_text(wait.due_us),
        "ended_at": time_text(wait.ended_us),
    }
