"""System events about runs, for projects that have asked for them."""

from __future__ import annotations

from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.contact import Contact
from headrace.domain.json_text import Number
from headrace.store.access.sending_policies import read_optional_events
from headrace.store.automations.inputs import CausedEvents
from headrace.store.contract.automations import RunRow
from headrace.store.contract.processing import SystemEvent
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

STARTED = "sendrealm.automation.started"
#: Of statuses that a run ends with.
ENDED = {
    RunStatus.COMPLETED: "sendrealm.automation.completed",
    RunStatus.FAILED: "sendrealm.automation.failed",
}


class RunEvents:
    """Writes events about runs in one transaction: the one that stores the change.

    Args:
        now_us: time of the events.
    """

    def __init__(self, tx: Transaction, system_events: SystemEvents, now_us: int) -> None:
        self._tx = tx
        self._system_events = system_events
        self._now_us = now_us
        self._wanted: dict[int, frozenset[str]] = {}

    async def wanted(self, project_id: int) -> frozenset[str]:
        """Names of the optional events that a project has asked for."""
        found = self._wanted.get(project_id)
        if found is None:
            found = self._wanted[project_id] = await read_optional_events(self._tx, project_id)
        return found

    async def insert(self, name: str, row: RunRow, contact: Contact, depth: int) -> None:
        """Write an event about a run.

        Args:
            row: the run after the change.
            depth: of the run.
        """
        started = name == STARTED
        reason = None if started or row.reason is None else row.reason.value
        payload = {
            "automation_id": row.automation_id,
            "version_number": Number(row.version),
            "run_id": row.id,
            "contact_id": contact.id,
            "status": "started" if started else row.status.value,
            "reason": reason,
            "step_key": row.at_step if row.status is RunStatus.FAILED and not started else None,
        }
        event = SystemEvent(row.project_id, name, contact.id, json_of(payload), contact.lane)
        caused = CausedEvents(self._system_events, row.id, depth + 1)
        await caused.insert(self._tx, [event], self._now_us)


def events_of(row: RunRow, *, is_new: bool, was_open: bool) -> list[str]:
    """Names of the events about a change of a run.

    Args:
        row: the run after the change.
        is_new: it begins with the change.
        was_open: before the change; so a run that has ended is reported once.
    """
    names = [STARTED] if is_new else []
    ended = ENDED.get(row.status)
    return [*names, ended] if ended is not None and was_open else names
