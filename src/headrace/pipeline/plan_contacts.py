"""What the events of a batch do to contacts: resolve, create, fill, write properties. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from headrace.domain.event_properties import MARK, EventProperties, event_properties
from headrace.domain.events import Source
from headrace.domain.identity import IdentityType, lane_of
from headrace.domain.placeholders import Placeholders
from headrace.domain.policies import Policies
from headrace.domain.properties import same_value
from headrace.domain.property_times import Stamp, Values, write
from headrace.domain.resolution import Reason, Resolved, resolve
from headrace.pipeline.resolution_note import (
    ResolutionNote,
    conflicts_noted,
    kept_noted,
    plain_text,
)
from headrace.store.contract_processing import (
    BatchPlan,
    Claimed,
    ConflictFound,
    ContactCreated,
    ContactFilled,
    ContactIds,
    ContactWritten,
    FindContact,
    SystemEvent,
)

Changes = dict[str, dict[str, Any]]


class ContactRules(Protocol):
    """What the projects say about their contacts."""

    def policies(self, project_id: int) -> Policies: ...
    def placeholders(self, project_id: int) -> Placeholders: ...


class ContactPlanner:
    """Adds to a plan what its events do to contacts; later ones see what earlier ones did."""

    def __init__(
        self,
        rules: ContactRules,
        new_id: Callable[[], str],
        find: FindContact,
        plan: BatchPlan,
    ) -> None:
        self._rules = rules
        self._new_id = new_id
        self._view = _View(find)
        self._plan = plan

    def decide(self, event: Claimed) -> tuple[str | None, str]:
        """The contact of an event, None without one, and the note for its trace."""
        project_id, view = event.project_id, self._view

        def find(kind: IdentityType, value: str) -> ContactIds | None:
            return view.find(project_id, kind, value)

        # Nothing happens after it was received: a time ahead of that is a wrong clock.
        happened_us = min(event.occurred_us, event.received_us)
        resolved = resolve(
            event,
            find,
            may_create=self._rules.policies(project_id).create_contacts,
            happened_us=happened_us,
            is_placeholder=self._rules.placeholders(project_id),
        )
        writes = MARK in event.payload and event.source != Source.SYSTEM
        if resolved.plain and not writes:
            # What nearly all events come to.
            contact_id = resolved.contact_id
            return contact_id, plain_text(resolved.reason, resolved.by, contact_id)
        note = _note(resolved)
        stamp = Stamp(happened_us, event.sequence)
        wanted = event_properties(event.payload) if writes else None
        if resolved.reason is Reason.CREATED:
            note.contact_id = self._create(event, resolved, stamp, wanted, note)
        elif resolved.contact_id is not None and (resolved.fills or wanted is not None):
            self._change(event, resolved, stamp, wanted, note)
        for field, other in resolved.conflicts:
            self._plan.conflicts.append(
                ConflictFound(
                    project_id=project_id,
                    sequence=event.sequence,
                    contact_id=note.contact_id or "",
                    other_contact_id=other,
                    field=field,
                    lane=event.lane,
                    event_id=event.id,
                )
            )
        return note.contact_id, note.text()

    def _create(
        self,
        event: Claimed,
        resolved: Resolved,
        stamp: Stamp,
        wanted: EventProperties | None,
        note: ResolutionNote,
    ) -> str:
        contact_id, fills = self._new_id(), resolved.fills
        external_id, email = fills.get("external_id"), fills.get("email")
        original = event.email_original if email is not None else None
        values = None
        if wanted is not None:
            values = _written(Values(), wanted, stamp, note)[0]
        self._view.put(
            event.project_id, ContactIds(contact_id, external_id, email, values=values or Values())
        )
        self._plan.contacts_created.append(
            ContactCreated(
                contact_id, event.project_id, external_id, email, original, stamp.at_us, values
            )
        )
        payload = f'{{"contact_id":"{contact_id}","source":"event"}}'
        self._tell("sendrealm.contact.created", event.project_id, contact_id, payload)
        return contact_id

    def _change(
        self,
        event: Claimed,
        resolved: Resolved,
        stamp: Stamp,
        wanted: EventProperties | None,
        note: ResolutionNote,
    ) -> None:
        """Fill empty fields and write properties: one change, one event that tells it."""
        contact_id, project_id = resolved.contact_id, event.project_id
        assert contact_id is not None
        held = self._view.find(project_id, IdentityType.CONTACT_ID, contact_id)
        assert held is not None
        changes: Changes = {}
        if resolved.fills:
            held = self._fill(event, held, resolved.fills, stamp.at_us)
            changes |= {name: {"from": None, "to": to} for name, to in resolved.fills.items()}
        if wanted is not None:
            held, changed = self._write(project_id, held, wanted, stamp, note)
            changes |= changed
        self._view.put(project_id, held)
        if changes:
            payload = {"contact_id": contact_id, "source": "event", "changes": changes}
            text = msgspec.json.encode(payload).decode()
            self._tell("sendrealm.contact.updated", project_id, contact_id, text)

    def _fill(
        self, event: Claimed, held: ContactIds, fills: dict[str, str], at_us: int
    ) -> ContactIds:
        external_id, email = fills.get("external_id"), fills.get("email")
        original = event.email_original if email is not None else None
        self._plan.contacts_filled.append(
            ContactFilled(held.id, event.project_id, external_id, email, original, at_us)
        )
        return msgspec.structs.replace(
            held, external_id=external_id or held.external_id, email=email or held.email
        )

    def _write(
        self,
        project_id: int,
        held: ContactIds,
        wanted: EventProperties,
        stamp: Stamp,
        note: ResolutionNote,
    ) -> tuple[ContactIds, Changes]:
        assert held.values is not None
        values, changes = _written(held.values, wanted, stamp, note)
        if values != held.values:
            before = self._plan.contacts_written.get(held.id)
            changed = bool(changes) or (before is not None and before.changed)
            self._plan.contacts_written[held.id] = ContactWritten(
                held.id, project_id, values, changed
            )
        return msgspec.structs.replace(held, values=values), changes

    def _tell(self, name: str, project_id: int, contact_id: str, payload: str) -> None:
        lane = lane_of(project_id, IdentityType.CONTACT_ID, contact_id)
        self._plan.system_events.append(SystemEvent(project_id, name, contact_id, payload, lane))


class _View:
    """The store's contacts with what this batch has decided so far on top."""

    def __init__(self, find: FindContact) -> None:
        self._find = find
        self._decided: dict[tuple[int, IdentityType, str], ContactIds] = {}

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        decided = self._decided.get((project_id, kind, value))
        if decided is not None:
            return decided
        stored = self._find(project_id, kind, value)
        if stored is None or not self._decided:
            return stored
        # Found by an identifier that leads to it, and changed under its own.
        return self._decided.get((project_id, IdentityType.CONTACT_ID, stored.id), stored)

    def put(self, project_id: int, contact: ContactIds) -> None:
        self._decided[project_id, IdentityType.CONTACT_ID, contact.id] = contact
        if contact.external_id is not None:
            self._decided[project_id, IdentityType.EXTERNAL_ID, contact.external_id] = contact
        if contact.email is not None:
            self._decided[project_id, IdentityType.EMAIL, contact.email] = contact


def _written(
    held: Values, wanted: EventProperties, stamp: Stamp, note: ResolutionNote
) -> tuple[Values, Changes]:
    """Properties after an event, and what that changed; the rest goes into the note."""
    first = write(held, wanted.sets, stamp)
    second = write(first.values, wanted.once, msgspec.structs.replace(stamp, once=True))
    values = second.values
    note.written = [*first.applied, *second.applied]
    note.kept = [*note.kept, *kept_noted(first.kept), *kept_noted(second.kept, once=True)]
    note.ignored = [*wanted.ignored, *first.refused, *second.refused]
    names = dict.fromkeys(note.written)
    changes = {
        f"properties.{name}": {"from": old, "to": new}
        for name in names
        if not same_value(old := held.properties.get(name), new := values.properties.get(name))
    }
    return values, changes


def _note(resolved: Resolved) -> ResolutionNote:
    return ResolutionNote(
        reason=resolved.reason.value,
        by=resolved.by.value,
        contact_id=resolved.contact_id,
        filled=list(resolved.fills) if resolved.reason is Reason.MATCHED else [],
        conflicts=conflicts_noted(resolved.conflicts),
        placeholders=list(resolved.placeholders),
        kept=kept_noted(resolved.cleared, prefix=""),
    )
