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
from headrace.domain.automations.running.view import RunPolicies
from headrace.domain.events.event import Source
from headrace.domain.events.identity import contact_lane
from headrace.store.automations.advancing import HeldRun, Person, RunAdvancer
from headrace.store.automations.run_rows import key_of, read_state
from headrace.store.automations.views import read_view
from headrace.store.contract.automations import InboxEvent, RunRow
from headrace.store.engine.dialect import sql

STARTERS = sql(
    "SELECT id, status, version, active_since_us FROM automations "
    "WHERE project_id = $1 AND trigger_event = $2 ORDER BY created_us"
)
_EXISTS = sql("SELECT 1 FROM automation_runs WHERE lane = $1 AND id = $2")
_STATE = sql("SELECT state FROM automation_runs WHERE lane = $1 AND id = $2")
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


# The limit is checked by the one process that starts runs.
STARTED = sql(
    "SELECT sum(started), min(minute) FROM automation_starts WHERE project_id = $1 AND minute > $2"
)
_COUNT_START = sql(
    "INSERT INTO automation_starts (project_id, minute, started) VALUES ($1, $2, 1) "
    "ON CONFLICT (project_id, minute) DO UPDATE SET started = automation_starts.started + 1"
)
_FORGET_STARTS = sql("DELETE FROM automation_starts WHERE project_id = $1 AND minute < $2")
_WAIT = sql(
    "INSERT INTO automation_inbox (lane, sequence, project_id, contact_id, due_us, starts_only) "
    "VALUES ($1, $2, $3, $4, $5, 1)"
)
MINUTE_US = 60_000_000
HOUR_MINUTES = 60
#: How long a start waits for the limit of an hour before it is rejected.
START_WAIT_US = 24 * HOUR_MINUTES * MINUTE_US


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
        found = [await self._start(row, item, event, person) for row in starters]
        again_us = min((each for each in found if each is not None), default=None)
        if again_us is not None:
            values = (item.lane, item.sequence, item.project_id, item.contact_id, again_us)
            await self._tx.run(_WAIT, *values)

    async def _start(
        self, row: Sequence[Any], item: InboxEvent, event: Event, person: Person
    ) -> int | None:
        """Start a run or record why not; returns when to try again for the limit of an hour."""
        automation_id, status, number, since_us = row
        run_id = stable_id(automation_id, event.id)
        if await self._tx.value(_EXISTS, *key_of(run_id)) is not None:
            # The event was replayed.
            return None
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
            policies,
            item.project_id,
            person,
            one_active=trigger.reentry.mode == ReentryMode.ONE_ACTIVE,
        )
        decision = decide_start(trigger, event, view, context)
        limit = policies.automation_start_limit_per_hour
        again_us = None
        if decision.started and limit is not None:
            again_us = await self._start_again_us(item, limit)
        if again_us is not None:
            if self._runs.now_us < event.received_us + START_WAIT_US:
                return again_us
            context = msgspec.structs.replace(context, may_start=False)
            decision = decide_start(trigger, event, view, context)
        if not decision.started or person.contact is None:
            if decision.note.reason is not RunReason.FILTER_NOT_MET:
                await self._reject(automation_id, number, item, event, decision.note)
            return None
        self.started += 1
        if limit is not None:
            minute = self._runs.now_us // MINUTE_US
            await self._tx.run(_COUNT_START, item.project_id, minute)
            await self._tx.run(_FORGET_STARTS, item.project_id, minute - 2 * HOUR_MINUTES)
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
        new = HeldRun(row=made, run=first.run, notes=0, is_new=True)
        await self._runs.settle(new, version, first, person)
        return None

    async def _start_again_us(self, item: InboxEvent, limit: int) -> int | None:
        """When to try again, None when the limit of the last hour allows a start."""
        minute = self._runs.now_us // MINUTE_US
        row = await self._tx.row(STARTED, item.project_id, minute - HOUR_MINUTES)
        started, oldest = row or (0, None)
        if (started or 0) < limit:
            return None
        again = minute + 1 if oldest is None else oldest + HOUR_MINUTES + 1
        return max(int(again), minute + 1) * MINUTE_US

    async def _context(
        self,
        status: AutomationStatus,
        automation_id: str,
        key: str | None,
        policies: RunPolicies,
        project_id: int,
        person: Person,
        *,
        one_active: bool,
    ) -> StartContext:
        open_runs = await self._runs.open_runs(person)
        entry = None
        if key is not None:
            last: int | None = None
            for each in person.ids:
                lane = contact_lane(project_id, each)
                found = await self._tx.value(ENTRY, lane, each, automation_id, key)
                last = found if last is None else max(last, found or last)
            is_open = any(
                run.automation_id == automation_id and run.entry_key == key for run in open_runs
            )
            # An open run counts for `one_active` also if its entry was forgotten.
            if last is not None or (one_active and is_open):
                entry = Entry(last_start_us=last or 0, has_open_run=is_open)
        return StartContext(
            status=status,
            entry=entry,
            open_runs_of_contact=len(open_runs),
            open_runs_per_contact_max=policies.open_runs_per_contact_max,
            automation_depth_max=policies.automation_depth_max,
        )

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
