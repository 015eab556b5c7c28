"""The part of a trace that says which contact an event is about, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from headrace.domain.contacts.resolution import Reason
from headrace.domain.errors import as_written
from headrace.domain.timestamps import to_text
from headrace.pipeline.processing.resolution_note import ResolutionNote, read_note
from headrace.pipeline.trace.entry import EntryType, Moment, TraceEntry
from headrace.store.contract.trace import TraceFacts

_TEXTS: dict[str, str] = {
    Reason.MATCHED: "The {by} belongs to contact {contact}.",
    Reason.LINKED: "No contact had this external_id; it was added to contact {contact}, "
    "which has the {by} and had no external_id.",
    Reason.CREATED: "No contact had this {by}, so one was created.",
    Reason.CONTACT_NOT_FOUND: "No contact has this {by}; the event was processed "
    "without a contact.",
    Reason.CREATION_OFF: "No contact has this {by}, and the policy create_contacts is off; "
    "the event was processed without a contact.",
    Reason.PLACEHOLDER_IDENTIFIER: "The {by} is a placeholder that many people could share; "
    "the event was processed without a contact.",
}


def identity_moments(facts: TraceFacts) -> Iterator[Moment]:
    """The decision, and what it did to contacts."""
    if facts.resolution is None or facts.processed_us is None:
        return
    note = read_note(facts.resolution, facts.event.resolved_contact_id)
    if note is None:
        return
    at_us = facts.processed_us
    text = _TEXTS.get(note.reason, "The contact was resolved by {by}.")
    yield Moment(
        at_us,
        TraceEntry(
            at=to_text(at_us),
            type=EntryType.IDENTITY_RESOLVED,
            text=text.format(by=note.by, contact=note.contact_id),
            reason=note.reason,
            field=note.by,
            contact_id=note.contact_id,
        ),
    )
    if note.reason == Reason.CREATED:
        text = f"Contact {note.contact_id} was created from the event."
        yield _about(at_us, EntryType.CONTACT_CREATED, text, contact_id=note.contact_id)
    for field in note.filled:
        text = f"The contact had no {field}; it was filled from the event."
        yield _about(at_us, EntryType.CONTACT_FILLED, text, contact_id=note.contact_id, field=field)
    for field in note.changed:
        text = f"The {field} of the contact was changed by the payload."
        yield _about(
            at_us, EntryType.CONTACT_CHANGED, text, contact_id=note.contact_id, field=field
        )
    for conflict in note.conflicts:
        text = (
            f"The {conflict.field} belongs to another contact, {conflict.other_contact_id}; "
            "nothing was merged."
        )
        if conflict.other_contact_id == note.merging:
            text = (
                f"The anonymous contact {note.merging} of the same person is merged into this one."
            )
        yield _about(
            at_us,
            EntryType.IDENTITY_CONFLICT,
            text,
            contact_id=note.contact_id,
            field=conflict.field,
            other_contact_id=conflict.other_contact_id,
        )
    yield from _ignored_identifiers(at_us, note)
    yield from _values(at_us, note)


def _ignored_identifiers(at_us: int, note: ResolutionNote) -> Iterator[Moment]:
    for field in note.placeholders:
        text = f"The {field} is a placeholder and was ignored."
        yield _about(
            at_us, EntryType.PLACEHOLDER_IGNORED, text, contact_id=note.contact_id, field=field
        )


def _values(at_us: int, note: ResolutionNote) -> Iterator[Moment]:
    """What the event did to properties, and what stayed as it was."""
    if note.written:
        text = f"Properties were written: {', '.join(as_written(name) for name in note.written)}."
        yield _about(at_us, EntryType.PROPERTIES_WRITTEN, text, contact_id=note.contact_id)
    for kept in note.kept:
        since = to_text(kept.since_us)
        text = f"The field {kept.field} kept its value of {since}, which is later than this event."
        if kept.once:
            text = f"The field {kept.field} kept its value, which was set before ({since})."
        yield _about(
            at_us,
            EntryType.VALUE_KEPT,
            text,
            contact_id=note.contact_id,
            field=kept.field,
            since=since,
        )
    for field, reason in note.ignored:
        text = f"The field {field} was ignored: it {reason}."
        yield _about(
            at_us,
            EntryType.PROPERTY_IGNORED,
            text,
            contact_id=note.contact_id,
            field=field,
        )
    if note.unnoted:
        text = f"{note.unnoted} more properties of this event are not listed."
        yield _about(at_us, EntryType.PROPERTY_IGNORED, text, contact_id=note.contact_id)


def _about(
    at_us: int,
    kind: EntryType,
    text: str,
    *,
    contact_id: str | None,
    field: str | None = None,
    other_contact_id: str | None = None,
    since: str | None = None,
) -> Moment:
    entry = TraceEntry(
        at=to_text(at_us),
        type=kind,
        text=text,
        contact_id=contact_id,
        field=field,
        other_contact_id=other_contact_id,
        since=since,
    )
    return Moment(at_us, entry)
