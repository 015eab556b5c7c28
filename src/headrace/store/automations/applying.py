"""Inputs of runs that come with time: events of the inbox, and timers."""

from __future__ import annotations

from collections.abc import Sequence

from headrace.domain.automations.running.inputs import (
    Cancel,
    ContactChanged,
    Continue,
    EventArrived,
    Retry,
    TimerDue,
)
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.runs import Event, Wait, stable_id
from headrace.domain.automations.running.states import RunStatus, WaitKind, WaitStatus
from headrace.domain.contacts.contact import CONTACT_UPDATED
from headrace.domain.ids import received_us_of
from headrace.store.automations.advancing import RunAdvancer
from headrace.store.automations.controls import PARK
from headrace.store.automations.held_runs import HeldRun
from headrace.store.automations.inputs import find_events
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
OLDEST_OF_CONTACT = sql(
    "SELECT min(sequence) FROM automation_inbox WHERE contact_id = ANY($1::text[]) "
    "AND due_us IS NOT NULL AND starts_only = 0"
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
    await runs.held.read(await _runs_to_hold(runs, found, people))
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
    await runs.held.read(run_ids)
    held = [await runs.hold(each) for each in run_ids]
    await runs.people.read((each.row.project_id, each.row.contact_id) for each in held if each)
    for each in run_ids:
        await _apply_timer(runs, each)


async def _apply_timer(runs: RunAdvancer, run_id: str) -> None:
    """Advance a run that is due."""
    held = await runs.hold(run_id)
    if held is None or held.row.due_us is None or held.row.due_us > runs.now_us:
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
        oldest_us = await _oldest(runs, held, wait)
        await runs.advance(held, TimerDue(wait_id=wait.id, oldest_unprocessed_us=oldest_us))


async def is_there(runs: RunAdvancer, held: HeldRun) -> bool:
    """Whether the contact of a run was not deleted."""
    person = await runs.people.person(held.row.project_id, held.row.contact_id)
    return person.contact is not None


def _overdue(now_us: int) -> Cancel:
    detail = "it was overdue when the automation was resumed"
    return Cancel(reason=RunReason.CANCELLED_BY, at_us=now_us, detail=detail)


async def _oldest(runs: RunAdvancer, held: HeldRun, wait: Wait) -> int | None:
    """When the oldest event was received that the run has not seen, if that matters.

    The queue is read before the inbox: an event that leaves the first in between is in the
    second.
    """
    exits = any(
        each.kind is WaitKind.EXIT and each.status is WaitStatus.WAITING for each in held.run.waits
    )
    if wait.kind is not WaitKind.EVENT and not exits:
        return None
    queued_us = await runs.tx.value(OLDEST, held.row.project_id)
    person = await runs.people.person(held.row.project_id, held.row.contact_id)
    sequence = await runs.tx.value(OLDEST_OF_CONTACT, list(person.ids))
    found = [queued_us, None if sequence is None else received_us_of(sequence)]
    return min((each for each in found if each is not None), default=None)
