"""Starts runs with an event, or records why it started none."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.automations.definition.model import TRIGGER, ReentryMode
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
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies
from headrace.domain.events.event import Source
from headrace.domain.events.identity import contact_lane
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.held_runs import HeldRun
from headrace.store.automations.look_backs import LookBack
from headrace.store.automations.people import Person
from headrace.store.automations.run_rows import key_of, read_state
from headrace.store.automations.views import read_view
from headrace.store.contract.automations import InboxEvent, RunRow
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql

STARTERS = sql(
    "SELECT id, status, version, active_since_us FROM automations "
    "WHERE project_id = $1 AND trigger_event = $2 ORDER BY created_us"
)
EXISTING = sql(
    "SELECT r.id FROM unnest($1::smallint[], $2::text[]) AS k (lane, id) "
    "JOIN automation_runs r ON r.lane = k.lane AND r.id = k.id"
)
_STATE = sql("SELECT state FROM automation_runs WHERE lane = $1 AND id = $2")
ENTRIES = sql(
    "SELECT e.contact_id, e.automation_id, e.entry_key, e.last_start_us "
    "FROM unnest($1::smallint[], $2::text[], $3::text[], $4::text[]) "
    "AS k (lane, contact_id, automation_id, entry_key) JOIN automation_entries e "
    "ON e.lane = k.lane AND e.contact_id = k.contact_id "
    "AND e.automation_id = k.automation_id AND e.entry_key = k.entry_key"
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


class Starter(msgspec.Struct, frozen=True):
    """An automation that an event may start, as the transaction has read it."""

    id: str
    status: AutomationStatus
    #: Of the newest version.
    number: int
    #: Events that were received earlier start no run; None: it is not active.
    active_since_us: int | None


class RunStarter:
    """Starts runs in one transaction, with events that `read` was given.

    Args:
        runs: of the same transaction.
    """

    def __init__(self, runs: RunAdvancer) -> None:
        self._runs = runs
        self._tx = runs.tx
        #: Runs that were started.
        self.started = 0
        #: By project and event name.
        self._starters: dict[tuple[int, str], list[Starter]] = {}
        #: Ids of runs that have begun before.
        self._existing: set[str] = set()
        #: Time of the last start, by contact, automation and entry key.
        self._entries: dict[tuple[str, str, str], int] = {}

    async def read(
        self, found: Sequence[tuple[InboxEvent, Event]], people: Sequence[Person]
    ) -> None:
        """Read what decides about the starts of events, with a few statements for all.

        Args:
            people: the contact of each event, in the same order.
        """
        run_ids: list[str] = []
        look_backs: list[LookBack] = []
        entries: set[tuple[int, str, str, str]] = set()
        for (item, event), person in zip(found, people, strict=True):
            for starter in await self._starters_of(item.project_id, event.name):
                run_ids.append(stable_id(starter.id, event.id))
                version = await self._runs.versions.get(self._tx, starter.id, starter.number)
                if version.definition.exit_on or version.waits_after(TRIGGER):
                    names, since = version.awaited_names, event.sequence
                    look_backs.append(LookBack(item.project_id, person.ids, names, since))
                key = _key_of(version, event)
                if key is not None:
                    entries |= {
                        (contact_lane(item.project_id, each), each, starter.id, key)
                        for each in person.ids
                    }
        if run_ids:
            keys = columns_of(sorted(map(key_of, run_ids)), 2)
            self._existing = {row[0] for row in await self._tx.rows(EXISTING, *keys)}
        await self._runs.look_backs.read(look_backs)
        if entries:
            rows = await self._tx.rows(ENTRIES, *columns_of(sorted(entries), 4))
            self._entries = {tuple(key): last_start_us for *key, last_start_us in rows}

    async def _starters_of(self, project_id: int, event_name: str) -> list[Starter]:
        found = self._starters.get((project_id, event_name))
        if found is None:
            rows = await self._tx.rows(STARTERS, project_id, event_name)
            found = [
                Starter(automation_id, AutomationStatus(status), number, since_us)
                for automation_id, status, number, since_us in rows
            ]
            self._starters[project_id, event_name] = found
        return found

    async def start_all(self, item: InboxEvent, event: Event, person: Person) -> None:
        """Start a run of each automation that the event starts."""
        starters = await self._starters_of(item.project_id, event.name)
        if starters:
            event = await self._with_depth(event)
        found = [await self._start(each, item, event, person) for each in starters]
        again_us = min((each for each in found if each is not None), default=None)
        if again_us is not None:
            values = (item.lane, item.sequence, item.project_id, item.contact_id, again_us)
            await self._tx.run(_WAIT, *values)

    async def _start(
        self, starter: Starter, item: InboxEvent, event: Event, person: Person
    ) -> int | None:
        """Start a run or record why not; returns when to try again for the limit of an hour."""
        run_id = stable_id(starter.id, event.id)
        if run_id in self._existing:
            # The event was replayed.
            return None
        version = await self._runs.versions.get(self._tx, starter.id, starter.number)
        policies = await self._runs.policies_of(item.project_id)
        view = None
        if person.contact is not None:
            view = await read_view(self._tx, person.contact, version, policies)
        trigger = version.definition.trigger
        context = await self._context(starter, version, event, policies, person)
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
                self._reject(starter, item, event, decision.note)
            return None
        self.started += 1
        if limit is not None:
            minute = self._runs.now_us // MINUTE_US
            await self._tx.run(_COUNT_START, item.project_id, minute)
            await self._tx.run(_FORGET_STARTS, item.project_id, minute - 2 * HOUR_MINUTES)
        contact_id = person.contact.id
        if context.entry is not None or trigger.reentry.mode != ReentryMode.EVERY_EVENT:
            key = (contact_id, starter.id, decision.entry_key)
            lane = contact_lane(item.project_id, contact_id)
            self._runs.later.add(_ENTER, lane, *key, item.project_id, event.received_us)
            self._entries[key] = event.received_us
        assert view is not None
        first = begin(version, run_id, event, view)
        made = RunRow(
            id=run_id,
            project_id=item.project_id,
            automation_id=starter.id,
            version=starter.number,
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
        starter: Starter,
        version: Version,
        event: Event,
        policies: RunPolicies,
        person: Person,
    ) -> StartContext:
        open_runs = await self._runs.people.open_runs(person)
        entry, key = None, _key_of(version, event)
        if key is not None:
            starts = (self._entries.get((each, starter.id, key)) for each in person.ids)
            last = max((each for each in starts if each is not None), default=None)
            is_open = any(
                run.automation_id == starter.id and run.entry_key == key for run in open_runs
            )
            one_active = version.definition.trigger.reentry.mode == ReentryMode.ONE_ACTIVE
            # An open run counts for `one_active` also if its entry was forgotten.
            if last is not None or (one_active and is_open):
                entry = Entry(last_start_us=last or 0, has_open_run=is_open)
        since_us = starter.active_since_us
        is_active = starter.status is AutomationStatus.PAUSED or (
            since_us is not None and event.received_us >= since_us
        )
        return StartContext(
            status=starter.status if is_active else AutomationStatus.DRAFT,
            entry=entry,
            open_runs_of_contact=len(open_runs),
            open_runs_per_contact_max=policies.open_runs_per_contact_max,
            automation_depth_max=policies.automation_depth_max,
        )

    def _reject(self, starter: Starter, item: InboxEvent, event: Event, note: Note) -> None:
        self._runs.later.add(
            _REJECT,
            *(item.lane, item.sequence, starter.id, item.project_id, starter.number),
            *(item.contact_id, event.id, note.reason, note.sentence, note.at_us),
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


def _key_of(version: Version, event: Event) -> str | None:
    """The key by which starts of a contact are limited; None: every event starts a run."""
    trigger = version.definition.trigger
    if trigger.reentry.mode == ReentryMode.EVERY_EVENT:
        return None
    return entry_key(trigger, event)
