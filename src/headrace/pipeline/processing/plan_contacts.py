"""What the events of a batch do to contacts: resolve, create, write identifiers and properties.

Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from headrace.domain.access.policies import LinkIdentifiers, Policies
from headrace.domain.contacts.contact import IDENTIFIERS
from headrace.domain.contacts.earlier_ids import earlier_ids, is_anonymous
from headrace.domain.contacts.event_properties import (
    EMAIL,
    MARK,
    AddressWrite,
    EventProperties,
    event_properties,
)
from headrace.domain.contacts.properties import same_value
from headrace.domain.contacts.property_times import Stamp, Values, write
from headrace.domain.contacts.resolution import Reason, Resolved, resolve
from headrace.domain.events.event import Source
from headrace.domain.events.identity import IdentityType, lane_of
from headrace.domain.events.placeholders import Placeholders
from headrace.pipeline.processing.resolution_note import (
    ResolutionNote,
    conflicts_noted,
    kept_noted,
    plain_text,
)
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    ConflictFound,
    ContactChanged,
    ContactCreated,
    ContactIds,
    ContactWritten,
    FindContact,
    SystemEvent,
)

Changes = dict[str, dict[str, Any]]

_NO_VALUES = Values()


#: Sources whose payloads change no contact: clients without a key would change anybody.
_WITHOUT_WRITES = frozenset({Source.SYSTEM, Source.CLIENT})


class MergeWanted(msgspec.Struct, frozen=True):
    """An anonymous contact that is to be merged into the contact that it signed in as."""

    project_id: int
    contact_id: str
    other_id: str


class ContactRules(Protocol):
    """Contact rules of the projects."""

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
        #: To be done once the plan is committed.
        self.merges: list[MergeWanted] = []

    def decide(self, event: Claimed) -> tuple[str | None, str]:
        """The contact of an event, None without one, and the note for its trace."""
        project_id, view = event.project_id, self._view

        def find(kind: IdentityType, value: str) -> ContactIds | None:
            return view.find(project_id, kind, value)

        # Nothing happens after it was received: a time ahead of that is a wrong clock.
        happened_us = min(event.occurred_us, event.received_us)
        policies = self._rules.policies(project_id)
        resolved = resolve(
            event,
            find,
            may_create=policies.create_contacts,
            happened_us=happened_us,
            links=policies.link_identifiers is LinkIdentifiers.FILL,
            is_placeholder=self._rules.placeholders(project_id),
        )
        writes = MARK in event.payload and event.source not in _WITHOUT_WRITES
        earlier = earlier_ids(event.source, event.event, event.payload)
        if resolved.plain and not writes and not earlier:
            # The case of nearly all events.
            contact_id = resolved.contact_id
            return contact_id, plain_text(resolved.reason, resolved.by)
        note = _note(resolved)
        stamp = Stamp(happened_us, event.sequence)
        wanted = event_properties(event.payload) if writes else None
        conflicts = dict(resolved.conflicts)
        if resolved.contact_id is not None or resolved.reason is Reason.CREATED:
            held = None
            if resolved.contact_id is not None:
                held = view.find(project_id, IdentityType.CONTACT_ID, resolved.contact_id)
                assert held is not None
            if held is None or resolved.fills or wanted is not None:
                change = _Change(event, held or self._nobody(), note)
                change.fill(resolved.fills, stamp.at_us)
                if wanted is not None:
                    change.write(wanted, stamp)
                    conflicts = self._write_addresses(change, wanted, stamp.at_us) | conflicts
                note.contact_id = change.held.id
                self._keep(change, created=held is None)
            self._match_earlier(event, earlier, policies, note, conflicts)
        note.conflicts = conflicts_noted(list(conflicts.items()))
        for field, other in conflicts.items():
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

    def _match_earlier(
        self,
        event: Claimed,
        earlier: Sequence[str],
        policies: Policies,
        note: ResolutionNote,
        conflicts: dict[str, str],
    ) -> None:
        """Another contact with an earlier id is in conflict; an anonymous one is to be merged."""
        for external_id in earlier:
            other = self._view.find(event.project_id, IdentityType.EXTERNAL_ID, external_id)
            if other is None or other.id == note.contact_id or "external_id" in conflicts:
                continue
            conflicts["external_id"] = other.id
            if policies.merge_anonymous and is_anonymous(other) and note.contact_id is not None:
                note.merging = other.id
                self.merges.append(MergeWanted(event.project_id, note.contact_id, other.id))

    def _nobody(self) -> ContactIds:
        """A contact that is about to be created."""
        return ContactIds(self._new_id(), None, None, values=_NO_VALUES)

    def _write_addresses(
        self, change: _Change, wanted: EventProperties, at_us: int
    ) -> dict[str, str]:
        """Write what the payload says about the address; a conflict when another contact has it."""
        project_id = change.event.project_id
        conflicts: dict[str, str] = {}
        is_placeholder = self._rules.placeholders(project_id)
        for write_of in wanted.addresses:
            email = write_of.email
            if email is not None and is_placeholder(IdentityType.EMAIL, email):
                change.note.placeholders.append(write_of.field)
                continue
            owner = None
            if email is not None:
                owner = self._view.find(project_id, IdentityType.EMAIL, email)
            if owner is not None and owner.id != change.held.id:
                conflicts.setdefault(EMAIL, owner.id)
            else:
                change.write_address(write_of, at_us)
        return conflicts

    def _keep(self, change: _Change, *, created: bool) -> None:
        """Add a change to the plan, and the event that reports it."""
        plan, project_id = self._plan, change.event.project_id
        before, held = change.before, change.held
        changes = change.changes()
        self._view.put(project_id, before, held)
        if created or held.id in plan.contacts_created:
            plan.contacts_created[held.id] = ContactCreated(
                held.id,
                project_id,
                held.external_id,
                held.email,
                held.email_original,
                held.external_id_us,
                held.email_us,
                None if held.values == _NO_VALUES else held.values,
            )
        else:
            self._keep_change(project_id, before, held, changes)
        if created:
            payload = f'{{"contact_id":"{held.id}","source":"event"}}'
            self._emit("sendrealm.contact.created", project_id, held.id, payload)
        elif changes:
            updated = {"contact_id": held.id, "source": "event", "changes": changes}
            text = msgspec.json.encode(updated).decode()
            self._emit("sendrealm.contact.updated", project_id, held.id, text)

    def _keep_change(
        self, project_id: int, before: ContactIds, held: ContactIds, changes: Changes
    ) -> None:
        plan, contact_id = self._plan, held.id
        if _identifiers(before) != _identifiers(held):
            earlier = plan.contacts_changed.get(contact_id)
            had = () if before.email in {None, held.email} else (before.email,)
            changed = any(field in changes for field in IDENTIFIERS)
            if earlier is not None:
                before, had = earlier.before, (*earlier.had, *had)
                changed = changed or earlier.changed
            plan.contacts_changed[contact_id] = ContactChanged(
                project_id, before, held, had, changed=changed
            )
        if held.values is not None and held.values != before.values:
            written = plan.contacts_written.get(contact_id)
            changed = any(field not in IDENTIFIERS for field in changes)
            changed = changed or (written is not None and written.changed)
            plan.contacts_written[contact_id] = ContactWritten(
                contact_id, project_id, held.values, changed
            )

    def _emit(self, name: str, project_id: int, contact_id: str, payload: str) -> None:
        lane = lane_of(project_id, IdentityType.CONTACT_ID, contact_id)
        self._plan.system_events.append(SystemEvent(project_id, name, contact_id, payload, lane))


class _Change:
    """What one event does to its contact."""

    def __init__(self, event: Claimed, before: ContactIds, note: ResolutionNote) -> None:
        self.event = event
        self.note = note
        self.before = before
        self.held = before
        self._properties: Changes = {}

    def fill(self, fills: dict[str, str], at_us: int) -> None:
        """Fill empty identifiers."""
        if (external_id := fills.get("external_id")) is not None:
            self.held = msgspec.structs.replace(
                self.held, external_id=external_id, external_id_us=at_us
            )
        if (email := fills.get(EMAIL)) is not None:
            self._set_address(email, self.event.email_original, at_us)

    def write(self, wanted: EventProperties, stamp: Stamp) -> None:
        """Write properties."""
        assert self.held.values is not None
        values, self._properties = _written(self.held.values, wanted, stamp, self.note)
        self.held = msgspec.structs.replace(self.held, values=values)

    def write_address(self, wanted: AddressWrite, at_us: int) -> None:
        """Write an address that no other contact has; as with properties, the newest wins."""
        held = self.held
        since_us = held.email_us or 0
        taken = wanted.once and held.email is not None
        late = at_us <= since_us if wanted.once else at_us < since_us
        if taken or late:
            if held.email != wanted.email:
                self.note.kept += kept_noted([(EMAIL, since_us)], prefix="", once=taken)
            return
        self._set_address(wanted.email, wanted.original, at_us)
        if _shown_email(held) != _shown_email(self.held) and EMAIL not in self.note.changed:
            self.note.changed.append(EMAIL)

    def _set_address(self, email: str | None, original: str | None, at_us: int) -> None:
        self.held = msgspec.structs.replace(
            self.held, email=email, email_original=original, email_us=at_us
        )

    def changes(self) -> Changes:
        """Fields that differ from before, as `contact.updated` reports them."""
        fields = (
            ("external_id", self.before.external_id, self.held.external_id),
            (EMAIL, _shown_email(self.before), _shown_email(self.held)),
        )
        changed = {field: {"from": old, "to": new} for field, old, new in fields if old != new}
        return changed | self._properties


def _shown_email(contact: ContactIds) -> str | None:
    """The address as it was given."""
    return contact.email_original or contact.email


def _identifiers(contact: ContactIds) -> tuple[Any, ...]:
    return (
        *(contact.external_id, contact.external_id_us),
        *(contact.email, contact.email_original, contact.email_us),
    )


class _View:
    """The store's contacts with what this batch has decided so far on top."""

    def __init__(self, find: FindContact) -> None:
        self._find = find
        #: None for an identifier that a contact has given up.
        self._decided: dict[tuple[int, IdentityType, str], ContactIds | None] = {}

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        key = (project_id, kind, value)
        if key in self._decided:
            return self._decided[key]
        stored = self._find(project_id, kind, value)
        if stored is None or not self._decided:
            return stored
        # Found by another identifier, but changed under its own id.
        return self._decided.get((project_id, IdentityType.CONTACT_ID, stored.id), stored)

    def put(self, project_id: int, before: ContactIds, contact: ContactIds) -> None:
        if before.email is not None and before.email != contact.email:
            self._decided[project_id, IdentityType.EMAIL, before.email] = None
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
    note.ignored = [*wanted.ignored, *first.rejected, *second.rejected]
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
        filled=[] if resolved.reason is Reason.CREATED else list(resolved.fills),
        placeholders=list(resolved.placeholders),
        kept=kept_noted(resolved.cleared, prefix=""),
    )
