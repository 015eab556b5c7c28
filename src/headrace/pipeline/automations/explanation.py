"""Why a person started no run, or got no mail: for the API, commands and pages."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import msgspec

from headrace.domain.automations.running.explaining import (
    Basis,
    SendExplained,
    SendVerdict,
    StartVerdict,
)
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.starting import AutomationStatus
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.contact import Contact
from headrace.domain.events.event import StoredEvent
from headrace.domain.ids import uuid_text
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.timestamps import to_text
from headrace.store.automations.explaining import Explained, RunExplained, first_event_name
from headrace.store.contract.automations import Automation
from headrace.store.contract.contacts import ContactFilter
from headrace.store.contract.events import EventFilter
from headrace.store.contract.messages import Message
from headrace.store.store import Store

#: Events of the trigger that are explained, newest first.
EVENTS_MAX = 20
#: Newest events of a contact among which names like that of the trigger are looked for.
_EVENTS_COMPARED = 200
_SIMILAR_MAX = 3


class StartExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event in one automation, and why."""

    automation_id: str
    automation_name: str
    automation_status: AutomationStatus
    event_id: str
    event_name: str
    received_at: str
    verdict: StartVerdict
    #: Whether this was stored when it was decided, or is evaluated now.
    basis: Basis
    sentence: str
    version_number: int | None
    run_id: str | None
    #: The beginning of the value, as JSON, that the deciding comparison found.
    found: str | None


class MailExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a send step in one run, and why."""

    step_key: str
    verdict: SendVerdict
    sentence: str
    message_id: str | None
    message_status: MessageStatus | None
    message_reason: str | None


class RunExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what became of its send steps."""

    run_id: str
    version_number: int
    status: RunStatus
    status_reason: RunReason | None
    started_at: str
    mails: list[MailExplanation]


class ContactExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a contact has started runs of an automation or none, and what became of their mails."""

    automation_id: str
    automation_name: str
    automation_status: AutomationStatus
    contact_id: str
    #: None: the automation has no readable trigger.
    trigger_event_name: str | None
    #: The newest events of that name, newest first.
    events: list[StartExplanation]
    #: If there is none: names of events of the contact that are similar.
    similar_event_names: list[str]
    #: The newest runs, newest first.
    runs: list[RunExplanation]


async def explain_event(
    store: Store, project_id: int, event_id: bytes
) -> list[StartExplanation] | None:
    """What became of an event in each automation; None when there is no such event."""
    found = await store.automations.explanations.of_event(project_id, event_id)
    return None if found is None else [_start(each) for each in found]


async def explain_contact(store: Store, of: Automation, contact: Contact) -> ContactExplanation:
    """Why a contact has started runs of an automation or none."""
    explanations = store.automations.explanations
    name = await _trigger_of(store, of)
    events: Sequence[StoredEvent] = ()
    similar: list[str] = []
    if name is not None:
        events = await _events_of(store, contact, name, EVENTS_MAX)
        if not events:
            others = await _events_of(store, contact, None, _EVENTS_COMPARED)
            names = sorted({each.event for each in others})
            similar = get_close_matches(name, names, n=_SIMILAR_MAX)
    return ContactExplanation(
        automation_id=of.id,
        automation_name=of.name,
        automation_status=of.status,
        contact_id=contact.id,
        trigger_event_name=name,
        events=[_start(each) for each in await explanations.of_events(of, events)],
        similar_event_names=similar,
        runs=[_run(each) for each in await explanations.sends(of, contact)],
    )


async def find_contact(
    store: Store,
    project_id: int,
    *,
    contact_id: str | None = None,
    external_id: str | None = None,
    email: str | None = None,
) -> Contact | None:
    """The contact of one identifier; None when there is none."""
    if contact_id is not None:
        return await store.contacts.get(project_id, contact_id)
    wanted = ContactFilter(external_id=external_id, email=email)
    page = await store.contacts.list(project_id, wanted, before=None, limit=1)
    return page.contacts[0] if page.contacts else None


async def _trigger_of(store: Store, of: Automation) -> str | None:
    if of.version:
        newest = await store.automations.definitions.version(of.project_id, of.id, of.version)
        if newest is not None:
            return first_event_name(newest.definition)
    return first_event_name(of.draft)


async def _events_of(
    store: Store, contact: Contact, name: str | None, limit: int
) -> list[StoredEvent]:
    wanted = EventFilter(contact_id=contact.id, event=name)
    page = await store.events.list(contact.project_id, wanted, before=None, limit=limit)
    return page.events


def _start(of: Explained) -> StartExplanation:
    start = of.start
    return StartExplanation(
        automation_id=of.automation.id,
        automation_name=of.automation.name,
        automation_status=of.automation.status,
        event_id=uuid_text(of.event.id),
        event_name=of.event.event,
        received_at=to_text(of.event.received_us),
        verdict=start.verdict,
        basis=start.basis,
        sentence=start.sentence,
        version_number=start.version,
        run_id=start.run_id,
        found=None if start.evidence is None else start.evidence.found,
    )


def _run(of: RunExplained) -> RunExplanation:
    row = of.detail.row
    messages = {each.step_key: each for each in of.detail.messages}
    return RunExplanation(
        run_id=row.id,
        version_number=row.version,
        status=row.status,
        status_reason=row.reason,
        started_at=to_text(row.started_us),
        mails=[_mail(send, messages.get(send.step_key)) for send in of.sends],
    )


def _mail(send: SendExplained, message: Message | None) -> MailExplanation:
    sentence = send.sentence
    if message is not None:
        why = "" if message.reason is None else f": {message.reason}"
        rule = f" ({message.rule})" if message.rule else ""
        sentence = f"The mail is {message.state.value}{why}{rule}."
    return MailExplanation(
        step_key=send.step_key,
        verdict=send.verdict,
        sentence=sentence,
        message_id=None if message is None else message.id,
        message_status=None if message is None else message.state,
        message_reason=None if message is None else message.reason,
    )
