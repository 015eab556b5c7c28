"""Advances runs in a transaction.

A run is read and locked, the decision is made, its effects are performed, and the run is stored
with the time at which it is looked at next. So after a crash a run is either as before an input,
which is then applied again, or as after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec

from headrace.domain.automations.running.advance import advance
from headrace.domain.automations.running.effects import Decision
from headrace.domain.automations.running.inputs import (
    Cancel,
    Continue,
    Input,
    LookedBack,
    MessageFinished,
)
from headrace.domain.automations.running.reasons import Note, RunReason
from headrace.domain.automations.running.runs import Run
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.automations.running.version import Version
from headrace.domain.automations.running.view import RunPolicies, View
from headrace.domain.contacts.contact import Contact
from headrace.store.automations.controls import Control, read_control
from headrace.store.automations.dead_letters import STEP_FAILED, DeadLetterIds, Failure, bury_run
from headrace.store.automations.effects import Effects
from headrace.store.automations.held_runs import HeldRun, HeldRuns
from headrace.store.automations.later_writes import LaterWrites
from headrace.store.automations.look_backs import LookBacks
from headrace.store.automations.people import People, Person
from headrace.store.automations.run_events import RunEvents, events_of
from headrace.store.automations.run_rows import due_us_of, key_of
from headrace.store.automations.version_cache import VersionCache
from headrace.store.automations.views import read_run_policies, read_view
from headrace.store.contract.automations import NOTES_MAX, RunRow
from headrace.store.engine.dialect import sql
from headrace.store.engine.numbers import RowNumbers
from headrace.store.engine.system_events import SystemEvents
from headrace.store.engine.transaction import Transaction

#: Rounds of one decision, far above what a definition of 200 steps can need.
ROUNDS_MAX = 2000
#: How often a run looks at the message that it waits for: seldom once it has waited long.
POLL_US_MIN, POLL_US_MAX = 200_000, 60_000_000

_NOTE = sql(
    "INSERT INTO automation_notes (lane, run_id, number, at_us, reason, step_key, sentence) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7)"
)


class RunAdvancer:
    """Advances runs in one transaction; what it has read so far is kept until its end.

    It is a context: runs, notes and other rows are written when it ends without an error.
    """

    def __init__(
        self,
        tx: Transaction,
        now_us: int,
        *,
        versions: VersionCache,
        system_events: SystemEvents,
        numbers: RowNumbers,
        dead_letter_ids: DeadLetterIds,
    ) -> None:
        self.tx = tx
        self.now_us = now_us
        self.versions = versions
        self._system_events = system_events
        self._numbers = numbers
        self._dead_letter_ids = dead_letter_ids
        self._events = RunEvents(tx, system_events, now_us)
        self._policies: dict[int, RunPolicies] = {}
        self._controls: dict[str, Control] = {}
        self.people = People(tx)
        self.held = HeldRuns(tx)
        self.look_backs = LookBacks(tx)
        #: For rows that nothing reads in this transaction.
        self.later = LaterWrites(tx)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            await self.held.write()
            await self.later.write()

    async def hold(self, run_id: str) -> HeldRun | None:
        """Lock a run until the end of the transaction."""
        return await self.held.hold(run_id)

    async def advance(self, held: HeldRun, item: Input) -> HeldRun | None:
        """Apply an input; returns the run after it."""
        row = held.row
        version = await self.versions.get(self.tx, row.automation_id, row.version)
        person = await self.people.person(row.project_id, row.contact_id)
        if person.contact is None:
            item = Cancel(reason=RunReason.CONTACT_DELETED, at_us=self.now_us)
            person = msgspec.structs.replace(person, contact=_nobody(row))
        decision = await self._decide(held.run, version, item, person)
        return await self.settle(held, version, decision, person)

    async def _decide(self, run: Run, version: Version, item: Input, person: Person) -> Decision:
        assert person.contact is not None
        view = await self.view(person.contact, version, run)
        return advance(run, version, item, view, self.now_us)

    async def view(self, contact: Contact, version: Version, run: Run) -> View:
        """What a decision about a run may depend on."""
        policies = await self.policies_of(contact.project_id)
        view = await read_view(self.tx, contact, version, policies, run)
        control = await self.control_of(run.automation_id)
        skip_us = control.skip_sends_before_us
        if skip_us is None:
            return view
        return msgspec.structs.replace(view, skip_sends_before_us=skip_us)

    async def settle(
        self, held: HeldRun, version: Version, decision: Decision, person: Person
    ) -> HeldRun | None:
        """Perform a decision and what follows from it at once, then store the run."""
        assert person.contact is not None
        project_id = held.row.project_id
        effects = Effects(
            self.tx,
            self._system_events,
            self._numbers,
            project_id=project_id,
            contact_id=person.contact.id,
            now_us=self.now_us,
        )
        notes: list[Note] = []
        unsent: list[MessageFinished] = []
        for _ in range(ROUNDS_MAX):
            notes += decision.notes
            for effect in decision.effects:
                result = await effects.perform(effect, decision.run)
                unsent += [] if result is None else [result]
            if decision.effects:
                self.people.forget(person.contact.id)
            following = await self._following(decision, person, project_id, unsent)
            if following is None:
                return await self.store(held, decision.run, notes)
            if decision.effects:
                person = await self.people.person(project_id, person.contact.id)
                if person.contact is None:
                    return await self.store(held, decision.run, notes)
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
                await self.look_backs.find(project_id, person.ids, wanted.names, wanted.since)
            )
        if unsent and decision.run.is_open:
            return unsent.pop(0)
        return None

    async def store(self, held: HeldRun, run: Run, notes: Sequence[Note]) -> HeldRun:
        """Store a run, with the time at which it is looked at next."""
        kept = notes[: max(0, NOTES_MAX - held.notes)]
        due_us = due_us_of(run, self._poll_us(run))
        row = msgspec.structs.replace(
            held.row,
            status=run.status,
            reason=run.reason,
            outcome=run.outcome,
            at_step=run.at_step,
            due_us=due_us,
            finished_us=run.finished_us,
            attempt=0,
            error=None,
        )
        after = HeldRun(row=row, run=run, notes=held.notes + len(kept), is_new=held.is_new)
        if held.is_new or after != held:
            after = self.held.put(after)
            self.people.stored(row)
        key = key_of(run.id)
        for number, note in enumerate(kept, held.notes):
            text = (note.at_us, note.reason, note.step_key, note.sentence)
            self.later.add(_NOTE, *key, number, *text)
        if run.status is RunStatus.FAILED and held.row.due_us is not None:
            await self._bury(held.row, run, notes)
        was_open = held.row.due_us is not None
        await self.report(row, run.depth, is_new=held.is_new, was_open=was_open)
        return after

    async def report(self, row: RunRow, depth: int, *, is_new: bool, was_open: bool) -> None:
        """Write the events about a change of a run that the project has asked for.

        Args:
            row: after the change.
            depth: of the run.
            is_new: it begins with the change.
            was_open: before the change.
        """
        names = events_of(row, is_new=is_new, was_open=was_open)
        wanted = await self._events.wanted(row.project_id) if names else ()
        for name in names:
            contact = None
            if name in wanted:
                contact = (await self.people.person(row.project_id, row.contact_id)).contact
            if contact is not None:
                await self._events.insert(name, row, contact, depth)

    async def _bury(self, row: RunRow, run: Run, notes: Sequence[Note]) -> None:
        """Write the dead letter of a run that has just failed."""
        step = run.record(run.at_step or "")
        failed = [note for note in notes if note.reason is RunReason.STEP_FAILED]
        await bury_run(
            self.tx,
            self._dead_letter_ids,
            row,
            run.trigger.name,
            Failure(
                cause=STEP_FAILED,
                error=f"step {run.at_step}: {failed[-1].sentence if failed else 'it failed'}",
                attempts=1 if step is None else step.attempts,
                first_failed_us=self.now_us,
                now_us=self.now_us,
            ),
        )

    def _poll_us(self, run: Run) -> int:
        """When to look at a message again; a deferred one right after it is due."""
        wait = run.open_wait
        if wait is None:
            return self.now_us
        if wait.held_until_us is not None and wait.held_until_us > self.now_us:
            return wait.held_until_us + POLL_US_MIN
        waited_us = self.now_us - wait.started_us
        return self.now_us + min(max(waited_us // 4, POLL_US_MIN), POLL_US_MAX)

    # Reads.

    async def control_of(self, automation_id: str) -> Control:
        """What the operator wants of the runs of an automation."""
        found = self._controls.get(automation_id)
        if found is None:
            found = self._controls[automation_id] = await read_control(self.tx, automation_id)
        return found

    async def policies_of(self, project_id: int) -> RunPolicies:
        """Policies of a project."""
        found = self._policies.get(project_id)
        if found is None:
            found = self._policies[project_id] = await read_run_policies(self.tx, project_id)
        return found


def _nobody(row: RunRow) -> Contact:
    """Stands for a deleted contact while its runs are cancelled."""
    return Contact(id=row.contact_id, project_id=row.project_id, created_us=0, updated_us=0)
