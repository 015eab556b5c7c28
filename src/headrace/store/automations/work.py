"""The transactions that start runs and advance them.

One process at a time does so (leadership `automations`), and each transaction checks that it still
leads. In one transaction a run is read and locked, the decision is made, its effects are performed,
and the run is stored with the time at which it is looked at next. So after a crash a run is either
as before an input, which is then applied again, or as after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from headrace.domain.automations.definition.model import ReentryMode
from headrace.domain.automations.definition.parsing import parse_document
from headrace.domain.automations.definition.publish_checks import channel_of
from headrace.domain.automations.running.advance import advance, begin
from headrace.domain.automations.running.effects import Decision
from headrace.domain.automations.running.inputs import (
    Cancel,
    ContactChanged,
    Continue,
    EventArrived,
    Input,
    LookedBack,
    MessageFinished,
    TimerDue,
)
from headrace.domain.automations.running.reasons import Note, RunReason
from headrace.domain.automations.running.runs import Event, Run, Wait, stable_id
from headrace.domain.automations.running.starting import (
    AutomationStatus,
    Entry,
    StartContext,
    decide_start,
    entry_key,
)
from headrace.domain.automations.running.states import WaitKind, WaitStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies
from headrace.domain.contacts.contact import CONTACT_UPDATED, Contact
from headrace.domain.events.event import Source
from headrace.domain.events.identity import contact_lane
from headrace.domain.ids import received_us_of
from headrace.faults import fail_point
from headrace.store.access.audit import write_audit
from headrace.store.automations.automations import find_version
from headrace.store.automations.effects import Effects
from headrace.store.automations.inputs import find_event, look_back
from headrace.store.automations.message_results import result_of
from headrace.store.automations.run_rows import (
    COLUMNS,
    due_us_of,
    key_of,
    read_state,
    run_row,
    state_text,
)
from headrace.store.automations.views import read_run_policies, read_view
from headrace.store.contacts.contact_writes import by_id
from headrace.store.contacts.identifiers import ids_of
from headrace.store.contacts.races import write_contacts
from headrace.store.contract.automations import (
    ATTEMPTS_MAX,
    NOTES_MAX,
    InboxEvent,
    RunRow,
    Worked,
)
from headrace.store.contract.errors import LeadershipLostError, StoreError, StoreRowError
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Database, Transaction
from headrace.store.events.queue_reads import OLDEST
from headrace.store.messages.message_rows import find_message

T = TypeVar("T")

#: Name of the leadership.
LEADERSHIP = "automations"
#: Events, and due runs, of one transaction.
EVENTS_MAX = 64
TIMERS_MAX = 64
#: Open runs of one contact that one event is applied to.
OPEN_RUNS_READ_MAX = 10_000
#: Versions that are kept parsed.
VERSIONS_KEPT = 256
#: Rounds of one decision, far above what a definition of 200 steps can need.
ROUNDS_MAX = 2000
#: How often a run looks at the message that it waits for: seldom once it has waited long.
POLL_US_MIN, POLL_US_MAX = 200_000, 60_000_000
#: Pause after a failed attempt at an input; doubles with each.
RETRY_US = 5_000_000
ERROR_CHARACTERS_MAX = 500

_LEADS = sql(f"SELECT 1 FROM leader_leases WHERE name = '{LEADERSHIP}' AND owner = $1 FOR SHARE")
DUE_EVENTS = sql(
    "SELECT lane, sequence, project_id, contact_id FROM automation_inbox WHERE due_us <= $1 "
    "ORDER BY due_us, sequence LIMIT $2"
)
DUE_RUNS = sql("SELECT id FROM automation_runs WHERE due_us <= $1 ORDER BY due_us LIMIT $2")
NEXT_EVENT = sql("SELECT min(due_us) FROM automation_inbox WHERE due_us IS NOT NULL")
NEXT_RUN = sql("SELECT min(due_us) FROM automation_runs WHERE due_us IS NOT NULL")
_TAKE = sql("DELETE FROM automation_inbox WHERE lane = $1 AND sequence = $2")
_RETRY_EVENT = sql(
    "UPDATE automation_inbox SET attempt = attempt + 1, error = $4, "
    f"due_us = CASE WHEN attempt + 1 >= {ATTEMPTS_MAX} THEN NULL "
    "ELSE $3::bigint + $5::bigint * (1 << attempt) END WHERE lane = $1 AND sequence = $2"
)
_RETRY_RUN = sql(
    "UPDATE automation_runs SET attempt = attempt + 1, error = $4, "
    "due_us = $3::bigint + $5::bigint * (1 << least(attempt, 10)) "
    "WHERE lane = $1 AND id = $2 AND due_us IS NOT NULL"
)
OLDEST_OF_CONTACT = sql(
    "SELECT min(sequence) FROM automation_inbox WHERE contact_id = ANY($1::text[]) "
    "AND due_us IS NOT NULL"
)
STARTERS = sql(
    "SELECT id, status, version, active_since_us FROM automations "
    "WHERE project_id = $1 AND trigger_event = $2 ORDER BY created_us"
)
OPEN_OF_CONTACT = sql(
    "SELECT started_us, id, automation_id, version, entry_key FROM automation_runs "
    "WHERE contact_id = ANY($1::text[]) AND due_us IS NOT NULL LIMIT $2"
)
HOLD_RUN = sql(
    f"SELECT {COLUMNS}, state, notes FROM automation_runs WHERE lane = $1 AND id = $2 FOR UPDATE"
)
_EXISTS = sql("SELECT 1 FROM automation_runs WHERE lane = $1 AND id = $2")
_STATE = sql("SELECT state FROM automation_runs WHERE lane = $1 AND id = $2")
_INSERT_RUN = sql(
    f"INSERT INTO automation_runs (lane, {COLUMNS}, state, notes) "
    f"VALUES ({', '.join(f'${n}' for n in range(1, len(COLUMNS.split(', ')) + 4))})"
)
_UPDATE_RUN = sql(
    "UPDATE automation_runs SET status = $3, reason = $4, outcome = $5, at_step = $6, state = $7, "
    "due_us = $8, notes = $9, finished_us = $10, attempt = 0, error = NULL "
    "WHERE lane = $1 AND id = $2"
)
_NOTE = sql(
    "INSERT INTO automation_notes (lane, run_id, number, at_us, reason, step_key, sentence) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7)"
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


class HeldRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run whose row is locked until the end of the transaction."""

    row: RunRow
    run: Run
    #: How many notes it has.
    notes: int


class OpenRun(msgspec.Struct, frozen=True):
    """An open run of a contact, as it was when the event was read."""

    id: str
    automation_id: str
    version: int
    entry_key: str


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """The contact of an event or run now, and all ids that lead to it."""

    #: None: it was deleted, or there never was one.
    contact: Contact | None
    ids: tuple[str, ...]


class VersionCache:
    """Parsed versions, which never change."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], Version] = OrderedDict()

    async def get(self, tx: Transaction, automation_id: str, number: int) -> Version:
        """One version.

        Raises:
            LookupError: there is none, although a row refers to it.
        """
        key = (automation_id, number)
        found = self._kept.get(key)
        if found is None:
            stored = await find_version(tx, automation_id, number)
            document = None if stored is None else parse_document(stored.definition.encode())
            if document is None or document.definition is None:
                message = f"version {number} of automation {automation_id} cannot be read"
                raise LookupError(message)
            found = self._kept[key] = Version(automation_id, number, document.definition)
            if len(self._kept) > VERSIONS_KEPT:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return found


class AutomationWork:
    """What the runner does, batch by batch.

    Args:
        clock_us: the store's clock.
    """

    def __init__(
        self,
        database: Database,
        system_events: SystemEvents,
        numbers: RowNumbers,
        clock_us: Callable[[], int],
    ) -> None:
        self._database = database
        self._system_events = system_events
        self._numbers = numbers
        self._clock_us = clock_us
        self._versions = VersionCache()

    async def due(self) -> Worked:
        """What waits now, and when the next event or timer is due; a read only."""

        async def read(tx: Transaction) -> Worked:
            found = [await tx.value(NEXT_EVENT), await tx.value(NEXT_RUN)]
            return Worked(next_us=min((each for each in found if each is not None), default=None))

        return await self._database.read(read)

    async def work_events(self, owner: str) -> Worked:
        """Apply the next events of the inbox.

        An event that fails is found by applying each alone; it is retried later.

        Raises:
            LeadershipLostError: another process leads; nothing was changed.
        """
        now_us = self._clock_us()

        async def batch(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            rows = await tx.rows(DUE_EVENTS, now_us, EVENTS_MAX)
            step = _Step(self, tx, now_us)
            for row in rows:
                await step.event(InboxEvent(*row))
            fail_point("automation_inside_commit")
            return Worked(events=len(rows), started=step.started)

        done = await self._try(batch)
        if done is None:
            done = await self._events_one_by_one(owner, now_us)
        if done.events:
            fail_point("automation_committed")
        return done

    async def _events_one_by_one(self, owner: str, now_us: int) -> Worked:
        rows = await self._database.read(lambda tx: tx.rows(DUE_EVENTS, now_us, EVENTS_MAX))
        done = Worked()
        for row in rows:
            item = InboxEvent(*row)

            async def one(tx: Transaction, item: InboxEvent = item) -> Worked:
                await _check_leads(tx, owner)
                step = _Step(self, tx, now_us)
                await step.event(item)
                return Worked(events=1, started=step.started)

            async def failed(tx: Transaction, error: str, item: InboxEvent = item) -> None:
                key = (item.lane, item.sequence)
                await tx.run(_RETRY_EVENT, *key, now_us, error, RETRY_US)

            done = _sum(done, await self._try_one(one, failed) or Worked(events=1, failed=1))
        return done

    async def work_timers(self, owner: str) -> Worked:
        """Advance the next runs that are due.

        Raises:
            LeadershipLostError: another process leads; nothing was changed.
        """
        now_us = self._clock_us()

        async def batch(tx: Transaction) -> Worked:
            await _check_leads(tx, owner)
            rows = await tx.rows(DUE_RUNS, now_us, TIMERS_MAX)
            step = _Step(self, tx, now_us)
            for row in rows:
                await step.timer(row[0])
            fail_point("automation_inside_commit")
            return Worked(timers=len(rows))

        done = await self._try(batch)
        if done is None:
            done = await self._timers_one_by_one(owner, now_us)
        if done.timers:
            fail_point("automation_committed")
        return done

    async def _timers_one_by_one(self, owner: str, now_us: int) -> Worked:
        rows = await self._database.read(lambda tx: tx.rows(DUE_RUNS, now_us, TIMERS_MAX))
        done = Worked()
        for (run_id,) in rows:

            async def one(tx: Transaction, run_id: str = run_id) -> Worked:
                await _check_leads(tx, owner)
                await _Step(self, tx, now_us).timer(run_id)
                return Worked(timers=1)

            async def failed(tx: Transaction, error: str, run_id: str = run_id) -> None:
                await tx.run(_RETRY_RUN, *key_of(run_id), now_us, error, RETRY_US)

            done = _sum(done, await self._try_one(one, failed) or Worked(timers=1, failed=1))
        return done

    async def cancel(
        self, project_id: int, run_id: str, item: Cancel, *, actor: str
    ) -> bool | None:
        """Cancel a run; False when it has ended, None when the project has no such run."""

        async def work(tx: Transaction) -> bool | None:
            now_us = self._clock_us()
            step = _Step(self, tx, now_us)
            held = await step.hold(run_id)
            if held is None or held.row.project_id != project_id:
                return None
            if not held.run.is_open:
                return False
            await step.advance(held, item)
            detail = {"run": run_id, "automation": held.row.automation_id, "reason": item.detail}
            await write_audit(tx, now_us, actor, project_id, "automation.run_cancel", detail)
            return True

        return await write_contacts(lambda: self._database.write(work))

    async def _try(self, work: Callable[[Transaction], Any]) -> Worked | None:
        """Run a batch; None when one of its inputs fails, and then nothing was changed."""
        try:
            done: Worked = await write_contacts(lambda: self._database.write(work))
            return done
        except StoreRowError:
            return None
        except (StoreError, OSError):
            raise
        except Exception:  # noqa: BLE001 - a bug must cost its own run only
            return None

    async def _try_one(
        self, work: Callable[[Transaction], Any], failed: Callable[[Transaction, str], Any]
    ) -> Worked | None:
        try:
            done: Worked = await write_contacts(lambda: self._database.write(work))
            return done
        except (StoreError, OSError) as error:
            if not isinstance(error, StoreRowError):
                raise
            text = _text(error)
        except Exception as error:  # noqa: BLE001 - recorded with the input
            text = _text(error)
        await self._database.write(lambda tx: failed(tx, text))
        return None

    # For the steps of a transaction.

    @property
    def versions(self) -> VersionCache:
        return self._versions

    @property
    def system_events(self) -> SystemEvents:
        return self._system_events

    @property
    def numbers(self) -> RowNumbers:
        return self._numbers


class _Step:
    """One transaction: what it has read so far is kept until its end."""

    def __init__(self, work: AutomationWork, tx: Transaction, now_us: int) -> None:
        self._work = work
        self._tx = tx
        self._now_us = now_us
        self._policies: dict[int, RunPolicies] = {}
        #: Runs that were started.
        self.started = 0

    # Events.

    async def event(self, item: InboxEvent) -> None:
        """Apply an event to the open runs of its contact, then start runs with it."""
        tx = self._tx
        if not await tx.run(_TAKE, item.lane, item.sequence):
            return
        event = await find_event(tx, item.lane, item.sequence)
        if event is None:
            return
        person = await self._person(item.project_id, item.contact_id)
        runs = await self._open_runs(person)
        for run in runs:
            await self._apply(run, event)
        starters = await tx.rows(STARTERS, item.project_id, event.name)
        if starters:
            event = await self._with_depth(event)
        for row in starters:
            # Runs that the event has ended do not keep another one from starting.
            await self._start(row, item, event, person)

    async def _apply(self, run: OpenRun, event: Event) -> None:
        version = await self._work.versions.get(self._tx, run.automation_id, run.version)
        moves = event.name == CONTACT_UPDATED and version.depends_on_contact
        if event.name not in version.awaited_names and not moves:
            return
        held = await self.hold(run.id)
        if held is None or held.run.trigger.sequence == event.sequence or not held.run.is_open:
            return
        if event.name in version.awaited_names:
            held = await self.advance(held, EventArrived(event))
        if moves and held is not None and held.run.is_open:
            await self.advance(held, ContactChanged())

    async def _start(
        self, row: Sequence[Any], item: InboxEvent, event: Event, person: Person
    ) -> None:
        automation_id, status, number, since_us = row
        run_id = stable_id(automation_id, event.id)
        if await self._tx.value(_EXISTS, *key_of(run_id)) is not None:
            # The event was replayed.
            return
        version = await self._work.versions.get(self._tx, automation_id, number)
        policies = await self._policies_of(item.project_id)
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
            due_us=self._now_us,
            attempt=0,
            error=None,
            started_us=event.received_us,
            finished_us=None,
        )
        values = (getattr(made, name) for name in COLUMNS.split(", "))
        lane, _ = key_of(run_id)
        plain = (str(value) if isinstance(value, str) else value for value in values)
        await self._tx.run(_INSERT_RUN, lane, *plain, state_text(first.run), 0)
        await self._settle(HeldRun(row=made, run=first.run, notes=0), version, first, person)

    async def _context(
        self,
        status: AutomationStatus,
        automation_id: str,
        key: str | None,
        project_id: int,
        person: Person,
    ) -> StartContext:
        open_runs = await self._open_runs(person)
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

    # Timers.

    async def timer(self, run_id: str) -> None:
        """Advance a run that is due."""
        held = await self.hold(run_id)
        if held is None or held.row.due_us is None or held.row.due_us > self._now_us:
            return
        wait = held.run.open_wait
        if wait is None:
            await self.advance(held, Continue())
        elif wait.kind is WaitKind.MESSAGE and wait.step_key is not None:
            message = await find_message(self._tx, stable_id(run_id, wait.step_key))
            result = result_of(message, wait.step_key, wait, self._now_us)
            if result is None:
                await self._store(held, held.run, ())
            else:
                await self.advance(held, result)
        else:
            oldest_us = await self._oldest(held, wait)
            await self.advance(held, TimerDue(wait_id=wait.id, oldest_unprocessed_us=oldest_us))

    async def _oldest(self, held: HeldRun, wait: Wait) -> int | None:
        """When the oldest event was received that the run has not seen, if that matters.

        The queue is read before the inbox: an event that leaves the first in between is in the
        second.
        """
        exits = any(
            each.kind is WaitKind.EXIT and each.status is WaitStatus.WAITING
            for each in held.run.waits
        )
        if wait.kind is not WaitKind.EVENT and not exits:
            return None
        queued_us = await self._tx.value(OLDEST, held.row.project_id)
        person = await self._person(held.row.project_id, held.row.contact_id)
        sequence = await self._tx.value(OLDEST_OF_CONTACT, list(person.ids))
        found = [queued_us, None if sequence is None else received_us_of(sequence)]
        return min((each for each in found if each is not None), default=None)

    # Runs.

    async def hold(self, run_id: str) -> HeldRun | None:
        """Lock a run until the end of the transaction."""
        row = await self._tx.row(HOLD_RUN, *key_of(run_id))
        if row is None:
            return None
        return HeldRun(row=run_row(row), run=read_state(row[-2]), notes=row[-1])

    async def advance(self, held: HeldRun, item: Input) -> HeldRun | None:
        """Apply an input; returns the run after it."""
        row = held.row
        version = await self._work.versions.get(self._tx, row.automation_id, row.version)
        person = await self._person(row.project_id, row.contact_id)
        if person.contact is None:
            item = Cancel(reason=RunReason.CONTACT_DELETED, at_us=self._now_us)
            person = msgspec.structs.replace(person, contact=_nobody(row))
        decision = await self._decide(held.run, version, item, person)
        return await self._settle(held, version, decision, person)

    async def _decide(self, run: Run, version: Version, item: Input, person: Person) -> Decision:
        assert person.contact is not None
        policies = await self._policies_of(person.contact.project_id)
        view = await read_view(self._tx, person.contact, version, policies, run)
        return advance(run, version, item, view, self._now_us)

    async def _settle(
        self, held: HeldRun, version: Version, decision: Decision, person: Person
    ) -> HeldRun | None:
        """Perform a decision and what follows from it at once, then store the run."""
        assert person.contact is not None
        project_id = held.row.project_id
        effects = Effects(
            self._tx,
            self._work.system_events,
            self._work.numbers,
            project_id=project_id,
            contact_id=person.contact.id,
            now_us=self._now_us,
        )
        notes: list[Note] = []
        unsent: list[MessageFinished] = []
        for _ in range(ROUNDS_MAX):
            notes += decision.notes
            for effect in decision.effects:
                result = await effects.perform(effect, decision.run)
                unsent += [] if result is None else [result]
            following = await self._following(decision, person, project_id, unsent)
            if following is None:
                return await self._store(held, decision.run, notes)
            if decision.effects:
                person = await self._person(project_id, person.contact.id)
                if person.contact is None:
                    return await self._store(held, decision.run, notes)
            decision = await self._decide(decision.run, version, following, person)
        message = f"run {held.row.id} does not come to an end"
        raise ValueError(message)

    async def _following(
        self,
        decision: Decision,
        person: Person,
        project_id: int,
        unsent: list[MessageFinished],
    ) -> Input | None:
        """The input that follows from a decision at once."""
        if decision.again:
            return Continue()
        if decision.look_back is not None:
            wanted = decision.look_back
            return LookedBack(
                await look_back(self._tx, project_id, person.ids, wanted.names, wanted.since)
            )
        if unsent and decision.run.is_open:
            return unsent.pop(0)
        return None

    async def _store(self, held: HeldRun, run: Run, notes: Sequence[Note]) -> HeldRun:
        key = key_of(run.id)
        kept = notes[: max(0, NOTES_MAX - held.notes)]
        due_us = due_us_of(run, self._poll_us(run))
        if run != held.run or kept or due_us != held.row.due_us or held.row.attempt:
            await self._tx.run(
                _UPDATE_RUN,
                *key,
                run.status.value,
                None if run.reason is None else run.reason.value,
                None if run.outcome is None else run.outcome.value,
                *(run.at_step, state_text(run), due_us, held.notes + len(kept), run.finished_us),
            )
        rows = [
            (*key, held.notes + n, note.at_us, note.reason.value, note.step_key, note.sentence)
            for n, note in enumerate(kept)
        ]
        if rows:
            await self._tx.run_many(_NOTE, rows)
        row = msgspec.structs.replace(held.row, due_us=due_us, status=run.status)
        return HeldRun(row=row, run=run, notes=held.notes + len(kept))

    def _poll_us(self, run: Run) -> int:
        """When to look at a message again; a deferred one right after it is due."""
        wait = run.open_wait
        if wait is None:
            return self._now_us
        if wait.held_until_us is not None and wait.held_until_us > self._now_us:
            return wait.held_until_us + POLL_US_MIN
        waited_us = self._now_us - wait.started_us
        return self._now_us + min(max(waited_us // 4, POLL_US_MIN), POLL_US_MAX)

    # Reads.

    async def _person(self, project_id: int, contact_id: str | None) -> Person:
        if contact_id is None:
            return Person(contact=None, ids=())
        contact = await by_id(self._tx, project_id, contact_id)
        if contact is None:
            return Person(contact=None, ids=(contact_id,))
        return Person(contact=contact, ids=tuple(await ids_of(self._tx, contact.id)))

    async def _open_runs(self, person: Person) -> list[OpenRun]:
        if not person.ids:
            return []
        rows = await self._tx.rows(OPEN_OF_CONTACT, list(person.ids), OPEN_RUNS_READ_MAX)
        return [OpenRun(*row[1:]) for row in sorted(tuple(row) for row in rows)]

    async def _policies_of(self, project_id: int) -> RunPolicies:
        found = self._policies.get(project_id)
        if found is None:
            found = self._policies[project_id] = await read_run_policies(self._tx, project_id)
        return found


async def _check_leads(tx: Transaction, owner: str) -> None:
    if await tx.value(_LEADS, owner) is None:
        raise LeadershipLostError


def _sum(one: Worked, other: Worked) -> Worked:
    return Worked(
        events=one.events + other.events,
        timers=one.timers + other.timers,
        started=one.started + other.started,
        failed=one.failed + other.failed,
    )


def _nobody(row: RunRow) -> Contact:
    """Stands for a deleted contact while its runs are cancelled."""
    return Contact(id=row.contact_id, project_id=row.project_id, created_us=0, updated_us=0)


def _text(error: Exception) -> str:
    name = type(error).__name__
    text = f"{name}: {error}" if str(error) else name
    return text.encode(errors="backslashreplace").decode()[:ERROR_CHARACTERS_MAX]
