"""Inputs of runs that come with time: events of the inbox, and timers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from headrace.domain.automations.running.inputs import (
    Cancel,
    ContactChanged,
    Continue,
    EventArrived,
    Retry,
    TimerDue,
)
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event, stable_id
from headrace.domain.automations.running.states import RunStatus, WaitKind, WaitStatus
from headrace.domain.contacts.contact import CONTACT_UPDATED
from headrace.domain.ids import received_us_of
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.controls import PARK
from headrace.store.automations.held_runs import HeldRun
from headrace.store.automations.inputs import find_events
from headrace.store.automations.look_backs import LookBack
from headrace.store.automations.message_results import result_of
from headrace.store.automations.people import OpenRun, Person
from headrace.store.automations.run_rows import key_of
from headrace.store.automations.starts import RunStarter
from headrace.store.contract.automations import InboxEvent
from headrace.store.engine.columns import columns_of
from headrace.store.engine.dialect import sql
from headrace.store.events.queue_reads import OLDEST
from headrace.store.messages.message_rows import find_message

TAKE = sql(
    "DELETE FROM automation_inbox WHERE (lane, sequence) IN "
    "(SELECT k.lane, k.sequence FROM unnest($1::smallint[], $2::bigint[]) AS k (lane, sequence)) "
    "RETURNING lane, sequence"
)
OLDEST_OF_CONTACTS = sql(
    "SELECT contact_id, min(sequence) FROM automation_inbox WHERE contact_id = ANY($1::text[]) "
    "AND due_us IS NOT NULL AND starts_only = 0 GROUP BY contact_id"
)


async def apply_events(runs: RunAdvancer, starter: RunStarter, items: Sequence[InboxEvent]) -> None:
    """Apply each event to the open runs of its contact, then start runs with it.

    What all of them need is read first, with a few statements: the number of statements does not
    grow with that of events.
    """
    keys = columns_of(sorted((item.lane, item.sequence) for item in items), 2)
    taken = {(lane, sequence) for lane, sequence in await runs.tx.rows(TAKE, *keys)}
    events = await find_events(runs.tx, taken)
    # Another process may have removed some.
    found = [(item, event) for item in items if (event := events.get(item.sequence)) is not None]
    await runs.people.read((item.project_id, item.contact_id) for item, _ in found)
    people = [await runs.people.person(item.project_id, item.contact_id) for item, _ in found]
    await runs.people.read_open_runs(people)
    await _hold_all(runs, await _runs_to_hold(runs, found, people))
    await starter.read(found, people)
    for item, event in found:
        await _apply_event(runs, starter, item, event)


async def _runs_to_hold(
    runs: RunAdvancer, found: Sequence[tuple[InboxEvent, Event]], people: Sequence[Person]
) -> set[str]:
    """Ids of the open runs that wait for one of the events."""
    ids: set[str] = set()
    for (item, event), person in zip(found, people, strict=True):
        if not item.starts_only:
            for run in await runs.people.open_runs(person):
                version = await runs.versions.get(runs.tx, run.automation_id, run.version)
                if event.name in version.awaited_names:
                    ids.add(run.id)
    return ids


async def _hold_all(runs: RunAdvancer, run_ids: Iterable[str]) -> list[HeldRun]:
    """Lock runs, and read their contacts and what they will probably look back at."""
    ids = list(run_ids)
    await runs.held.read(ids)
    held = [found for each in ids if (found := await runs.hold(each)) is not None]
    await runs.people.read((each.row.project_id, each.row.contact_id) for each in held)
    await runs.look_backs.read([each async for each in _look_backs(runs, held)])
    return held


async def _look_backs(runs: RunAdvancer, held: Iterable[HeldRun]) -> AsyncIterator[LookBack]:
    """What runs will read if the next step waits for an event."""
    for each in held:
        row, run = each.row, each.run
        version = await runs.versions.get(runs.tx, row.automation_id, row.version)
        if run.at_step is not None and version.waits_after(run.at_step):
            person = await runs.people.person(row.project_id, row.contact_id)
            since = run.trigger.sequence
            yield LookBack(row.project_id, person.ids, version.awaited_names, since)


async def _apply_event(
    runs: RunAdvancer, starter: RunStarter, item: InboxEvent, event: Event
) -> None:
    person = await runs.people.person(item.project_id, item.contact_id)
    if not item.starts_only:
        for run in await runs.people.open_runs(person):
            await _apply(runs, run, event)
    # Runs that the event has ended do not keep another one from starting.
    await starter.start_all(item, event, person)


async def _apply(runs: RunAdvancer, run: OpenRun, event: Event) -> None:
    version = await runs.versions.get(runs.tx, run.automation_id, run.version)
    moves = event.name == CONTACT_UPDATED and version.depends_on_contact
    if event.name not in version.awaited_names and not moves:
        return
    held = await runs.hold(run.id)
    if held is None or held.run.trigger.sequence == event.sequence or not held.run.is_open:
        return
    if event.name in version.awaited_names:
        held = await runs.advance(held, EventArrived(event))
    if moves and held is not None and held.run.is_open:
        await runs.advance(held, ContactChanged())


async def apply_timers(runs: RunAdvancer, run_ids: Sequence[str]) -> None:
    """Advance runs that are due; what all of them need is read first, with a few statements."""
    held = await _hold_all(runs, run_ids)
    unseen = UnseenEvents(runs)
    await unseen.read([each for each in held if _depends_on_events(each)])
    for each in held:
        await _apply_timer(runs, each, unseen)


async def _apply_timer(runs: RunAdvancer, held: HeldRun, unseen: UnseenEvents) -> None:
    run_id = held.row.id
    if held.row.due_us is None or held.row.due_us > runs.now_us:
        return
    wait = held.run.open_wait
    if held.row.status is RunStatus.FAILED:
        await runs.advance(held, Retry(at_us=runs.now_us))
        return
    control = await runs.control_of(held.row.automation_id)
    if control.held and await is_there(runs, held):
        await runs.tx.run(PARK, *key_of(run_id))
    elif control.cancels(held.row.due_us):
        await runs.advance(held, _overdue(runs.now_us))
    elif wait is None:
        await runs.advance(held, Continue())
    elif wait.kind is WaitKind.MESSAGE and wait.step_key is not None:
        message = await find_message(runs.tx, stable_id(run_id, wait.step_key))
        result = result_of(message, wait.step_key, wait, runs.now_us)
        if result is None:
            await runs.store(held, held.run, ())
        else:
            await runs.advance(held, result)
    else:
        oldest_us = await unseen.oldest_us(held) if _depends_on_events(held) else None
        await runs.advance(held, TimerDue(wait_id=wait.id, oldest_unprocessed_us=oldest_us))


async def is_there(runs: RunAdvancer, held: HeldRun) -> bool:
    """Whether the contact of a run was not deleted."""
    person = await runs.people.person(held.row.project_id, held.row.contact_id)
    return person.contact is not None


def _overdue(now_us: int) -> Cancel:
    detail = "it was overdue when the automation was resumed"
    return Cancel(reason=RunReason.CANCELLED_BY, at_us=now_us, detail=detail)


def _depends_on_events(held: HeldRun) -> bool:
    """Whether an event that the run has not seen may count instead of its timer."""
    wait = held.run.open_wait
    exits = any(
        each.kind is WaitKind.EXIT and each.status is WaitStatus.WAITING for each in held.run.waits
    )
    return wait is not None and (wait.kind is WaitKind.EVENT or exits)


class UnseenEvents:
    """Events that due runs have not seen; read once for all runs of a batch.

    The queue is read before the inbox: an event that leaves the first in between is in the second.
    """

    def __init__(self, runs: RunAdvancer) -> None:
        self._runs = runs
        #: When the oldest event of a project was received that is not processed.
        self._queued_us: dict[int, int | None] = {}
        #: Sequence of the oldest event of a contact in the inbox.
        self._inbox: dict[str, int] = {}

    async def read(self, held: Sequence[HeldRun]) -> None:
        """Read what `oldest_us` needs for runs."""
        for project_id in {each.row.project_id for each in held}:
            self._queued_us[project_id] = await self._runs.tx.value(OLDEST, project_id)
        ids = {contact_id for each in held for contact_id in (await self._person(each)).ids}
        if ids:
            rows = await self._runs.tx.rows(OLDEST_OF_CONTACTS, sorted(ids))
            self._inbox = {row[0]: row[1] for row in rows}

    async def oldest_us(self, held: HeldRun) -> int | None:
        """When the oldest event was received that a run has not seen."""
        ids = (await self._person(held)).ids
        found = [received_us_of(self._inbox[each]) for each in ids if each in self._inbox]
        queued_us = self._queued_us[held.row.project_id]
        return min([*found, *([] if queued_us is None else [queued_us])], default=None)

    async def _person(self, held: HeldRun) -> Person:
        return await self._runs.people.person(held.row.project_id, held.row.contact_id)
