"""The part of a trace that says which contact an event is about, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headrace.domain.resolution import Reason
from headrace.domain.timestamps import to_text
from headrace.pipeline.trace_entry import EntryType, Moment, TraceEntry
from headrace.store.contract_trace import TraceFacts


class _Conflict(msgspec.Struct):
    field: str
    other_contact_id: str


class _Note(msgspec.Struct):
    """What processing noted with the event, see `headrace.pipeline.plan.ResolutionNote`."""

    reason: str
    by: str
    contact_id: str | None = None
    filled: list[str] = []
    conflicts: list[_Conflict] = []


_TEXTS: dict[str, str] = {
    Reason.MATCHED: "The {by} belongs to contact {contact}.",
    Reason.CREATED: "Nobody had this {by}, so a contact was created.",
    Reason.CONTACT_NOT_FOUND: "There is no contact with this {by}; the event was processed "
    "without one.",
    Reason.CREATION_OFF: "Nobody has this {by}, and the project does not create contacts by "
    "events; the event was processed without one.",
}


def identity_moments(facts: TraceFacts) -> Iterator[Moment]:
    """The decision, and what it did to contacts."""
    if facts.resolution is None or facts.processed_us is None:
        return
    try:
        note = msgspec.json.decode(facts.resolution, type=_Note)
    except msgspec.DecodeError:
        # Written by a release that knows more than this one.
        return
    at_us = facts.processed_us
    text = _TEXTS.get(note.reason, "The contact was decided by the {by}.")
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
    for conflict in note.conflicts:
        text = (
            f"The {conflict.field} belongs to another contact, {conflict.other_contact_id}; "
            "nothing was merged."
        )
        yield _about(
            at_us,
            EntryType.IDENTITY_CONFLICT,
            text,
            contact_id=note.contact_id,
            field=conflict.field,
            other_contact_id=conflict.other_contact_id,
        )


def _about(
    at_us: int,
    kind: EntryType,
    text: str,
    *,
    contact_id: str | None,
    field: str | None = None,
    other_contact_id: str | None = None,
) -> Moment:
    entry = TraceEntry(
        at=to_text(at_us),
        type=kind,
        text=text,
        contact_id=contact_id,
        field=field,
        other_contact_id=other_contact_id,
    )
    return Moment(at_us, entry)
