"""Starts runs with an event, or records why it started none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.domain.automations.definition.model import ReentryMode
from headrace.domain.automations.definition.publish_checks import channel_of
from headrace.domain.automations.running.advance import begin
from headrace.domain.automations.running.reasons import Note, RunReason
from headrace.domain.automations.running.runs import Event, stable_id
from headrace.domain.automations.running.starting import (
    AutomationStatus,
    Entry,
    StartContext,
    decide_start,
    entry_key,
)
from headrace.domain.events.event import Source
from headrace.domain.events.identity import contact_lane
from headrace.store.automations.advancing import HeldRun, Person, RunAdvancer
from headrace.store.automations.run_rows import COLUMNS, key_of, read_state, state_text
from headrace.store.automations.views import read_view
from headrace.store.contract.automations import InboxEvent, RunRow
from headrace.store.engine.dialect import sql

STARTERS = sql(
    "SELECT id, status, version, active_since_us FROM automations "
    "WHERE project_id = $1 AND trigger_event = $2 ORDER BY created_us"
)
_EXISTS = sql("SELECT 1 FROM automation_runs WHERE lane = $1 AND id = $2")
_STATE = sql("SELECT state FROM automation_runs WHERE lane = $1 AND id = $2")
_INSERT_RUN = sql(
    f"INSERT INTO automation_runs (lane, {COLUMNS}, state, notes) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, len(COLUMNS.split(', ')) + 4))})"
)
ENTRY = sql(
    "SELECT last_start_us FROM automation_entries WHERE lane = $1 AND contact_id = $2 "
    "AND automation_id = $3 AND entry_key = $4"
)
_ENTER = sql(
    "INSERT INTO automation_entries (lane, contact_id, automation_id, entry_key, project_id, "
    "last_start_us, starts) VALUES ($1, $2, $3, $4, $5, $6, 1) "
    "ON CONFLICT (lane, contact_id, automation_id, entry_key) DO UPDATE "
    "SET last_start_us = excluded.last_start_us, starts = automation_entries.starts + 1"
)
_REJECT = sql(
    "INSERT INTO rejected_starts (lane, sequence, automation_id, project_id, version, contact_id, "
    "event_id, reason, sentence, at_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (lane, sequence, automation_id) DO NOTHING"
)


class RunStarter:
    """Starts runs in one transaction.

    Args:
        runs: of the same transaction.
    """

    def __init__(self, runs: RunAdvancer) -> None:
        self._runs = runs
        self._tx = runs.tx
        #: Runs that were started.
        self.started = 0

    async def start_all(self, item: InboxEvent, event: Event, person: Person) -> None:
        """Start a run of each automation that the event starts."""
        starters = await self._tx.rows(STARTERS, item.project_id, event.name)
        if starters:
            event = await self._with_depth(event)
        for row in starters:
            await self._start(row, item, event, person)

    async def _start(
        self, row: Sequence[Any], item: InboxEvent, event: Event, person: Person
    ) -> None:
        automation_id, status, number, since_us = row
        run_id = stable_id(automation_id, event.id)
        if await self._tx.value(_EXISTS, *key_of(run_id)) is not None:
            # The event was replayed.
            return
        version = await self._runs.versions.get(self._tx, automation_id, number)
        policies = await self._runs.policies_of(item.project_id)
        view = None
        if person.contact is not None:
            view = await read_view(self._tx, person.contact, version, policies)
        is_active = status == AutomationStatus.PAUSED or (
            since_us is not None and event.received_us >= since_us
        )
        trigger = version.definition.trigger
        context = await self._context(
            AutomationStatus(status) if is_active else AutomationStatus.DRAFT,
            automation_id,
            entry_key(trigger, event) if trigger.reentry.mode != ReentryMode.EVERY_EVENT else None,
            item.project_id,
            person,
        )
        decision = decide_start(trigger, event, view, context)
        if not decision.started or person.contact is None:
            if decision.note.reason is not RunReason.FILTER_NOT_MET:
                await self._reject(automation_id, number, item, event, decision.note)
            return
        self.started += 1
        contact_id = person.contact.id
        if context.entry is not None or trigger.reentry.mode != ReentryMode.EVERY_EVENT:
            lane = contact_lane(item.project_id, contact_id)
            entry = (lane, contact_id, automation_id, decision.entry_key)
            await self._tx.run(_ENTER, *entry, item.project_id, event.received_us)
        assert view is not None
        first = begin(version, run_id, event, view)
        made = RunRow(
            id=run_id,
            project_id=item.project_id,
            automation_id=automation_id,
            version=number,
            contact_id=contact_id,
            entry_key=decision.entry_key,
            event_lane=item.lane,
            sequence=item.sequence,
            status=first.run.status,
            reason=None,
            outcome=None,
            at_step=None,
            due_us=self._runs.now_us,
            attempt=0,
            error=None,
            started_us=event.received_us,
            finished_us=None,
        )
        values = (getattr(made, name) for name in COLUMNS.split(", "))
        lane, _ = key_of(run_id)
        plain = (str(value) if isinstance(value, str) else value for value in values)
        await self._tx.run(_INSERT_RUN, lane, *plain, state_text(first.run), 0)
        await self._runs.settle(HeldRun(row=made, run=first.run, notes=0), version, first, person)

    async def _context(
        self,
        status: AutomationStatus,
        automation_id: str,
        key: str | None,
        project_id: int,
        person: Person,
    ) -> StartContext:
        open_runs = await self._runs.open_runs(person)
        entry = None
        if key is not None:
            last: int | None = None
            for each in person.ids:
                lane = contact_lane(project_id, each)
                found = await self._tx.value(ENTRY, lane, each, automation_id, key)
                last = found if last is None else max(last, found or last)
            if last is not None:
                is_open = any(
                    run.automation_id == automation_id and run.entry_key == key for run in open_runs
                )
                entry = Entry(last_start_us=last, has_open_run=is_open)
        return StartContext(status=status, entry=entry, open_runs_of_contact=len(open_runs))

    async def _reject(
        self, automation_id: str, number: int, item: InboxEvent, event: Event, note: Note
    ) -> None:
        await self._tx.run(
            _REJECT,
            *(item.lane, item.sequence, automation_id, item.project_id, number),
            *(item.contact_id, event.id, note.reason.value, note.sentence, note.at_us),
        )

    async def _with_depth(self, event: Event) -> Event:
        """The event of a mail that a run has sent continues the chain of this run."""
        run_id = event.payload.get("run_id")
        if event.source != Source.SYSTEM or channel_of(event.name) is None:
            return event
        if not isinstance(run_id, str):
            return event
        text = await self._tx.value(_STATE, *key_of(run_id))
        if text is None:
            return event
        return msgspec.structs.replace(event, depth=read_state(text).depth + 1)
