"""The one step list of processing: resolve the contact, fan out, done.

Pure: it reads contacts through a function, and all it decides comes back as one `BatchPlan`, which
the store writes in the transaction that marks the events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import msgspec

from headrace.domain.identity import IdentityType, lane_of
from headrace.domain.ids import uuid_text
from headrace.domain.policies import DEFAULTS, Policies
from headrace.domain.resolution import Reason, Resolved, resolve
from headrace.domain.subscriptions import SubscriptionIndex
from headrace.store.contract_processing import (
    BatchPlan,
    Claimed,
    ConflictFound,
    ContactCreated,
    ContactFilled,
    ContactIds,
    Done,
    FindContact,
    NewDelivery,
    SubscriberRule,
    SystemEvent,
)


def random_uuid() -> str:
    """Text of a random UUID (version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid_text(bytes(raw))


class Rules:
    """What processing depends on besides the events; replaced as a whole when it changes."""

    def __init__(
        self, policies: dict[int, Policies], subscribers: Sequence[SubscriberRule]
    ) -> None:
        self._policies = policies
        shared = [rule for rule in subscribers if rule.project_id == 0 and rule.enabled]
        by_project: dict[int, list[SubscriberRule]] = {}
        for rule in subscribers:
            if rule.project_id and rule.enabled:
                by_project.setdefault(rule.project_id, []).append(rule)
        self._everywhere = _index(shared)
        self._indexes = {
            project_id: _index([*shared, *own]) for project_id, own in by_project.items()
        }

    def policies(self, project_id: int) -> Policies:
        """Policies of a project."""
        return self._policies.get(project_id, DEFAULTS)

    def subscribers(self, project_id: int, event: str) -> Sequence[str]:
        """Ids of the subscribers that want an event."""
        matches = self._indexes.get(project_id, self._everywhere).match(event)
        return [match.subscriber for match in matches]


def _index(rules: Sequence[SubscriberRule]) -> SubscriptionIndex[str]:
    return SubscriptionIndex((rule.id, rule.events) for rule in rules)


class BatchPlanner:
    """See `headrace.store.contract_processing.Planner`."""

    def __init__(self, rules: Rules, new_id: Callable[[], str] = random_uuid) -> None:
        self._rules = rules
        self._new_id = new_id
        #: Deliveries of the last plan.
        self.deliveries = 0

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        """Decide about each event in turn; later ones see what earlier ones decided."""
        view = _View(find)
        plan = BatchPlan()
        for event in batch:
            contact_id, resolution = self._resolve(event, view, plan)
            for subscriber_id in self._rules.subscribers(event.project_id, event.event):
                plan.deliveries.append(
                    NewDelivery(self._new_id(), event.project_id, event.sequence, subscriber_id)
                )
            plan.done.append(
                Done(event.sequence, event.project_id, event.attempt, contact_id, resolution)
            )
        self.deliveries = len(plan.deliveries)
        return plan

    def _resolve(self, event: Claimed, view: _View, plan: BatchPlan) -> tuple[str | None, str]:
        project_id = event.project_id

        def find(kind: IdentityType, value: str) -> ContactIds | None:
            return view.find(project_id, kind, value)

        may_create = self._rules.policies(project_id).create_contacts
        resolved = resolve(event, find, may_create=may_create)
        contact_id = resolved.contact_id
        if resolved.reason is Reason.CREATED:
            contact_id = self._new_id()
            _create(event, contact_id, resolved, view, plan)
        elif resolved.fills:
            _fill(event, resolved, view, plan)
        for field, other in resolved.conflicts:
            plan.conflicts.append(
                ConflictFound(project_id, event.sequence, contact_id or "", other, field)
            )
        return contact_id, _resolution_text(resolved, contact_id)


class _View:
    """The store's contacts with what this batch has decided so far on top."""

    def __init__(self, find: FindContact) -> None:
        self._find = find
        self._decided: dict[tuple[int, IdentityType, str], ContactIds] = {}

    def find(self, project_id: int, kind: IdentityType, value: str) -> ContactIds | None:
        return self._decided.get((project_id, kind, value)) or self._find(project_id, kind, value)

    def put(self, project_id: int, contact: ContactIds) -> None:
        self._decided[project_id, IdentityType.CONTACT_ID, contact.id] = contact
        if contact.external_id is not None:
            self._decided[project_id, IdentityType.EXTERNAL_ID, contact.external_id] = contact
        if contact.email is not None:
            self._decided[project_id, IdentityType.EMAIL, contact.email] = contact


def _create(
    event: Claimed, contact_id: str, resolved: Resolved, view: _View, plan: BatchPlan
) -> None:
    external_id = resolved.fills.get("external_id")
    email = resolved.fills.get("email")
    original = event.email_original if email is not None else None
    view.put(event.project_id, ContactIds(contact_id, external_id, email))
    plan.contacts_created.append(
        ContactCreated(contact_id, event.project_id, external_id, email, original)
    )
    payload = f'{{"contact_id":"{contact_id}","source":"event"}}'
    plan.system_events.append(
        _system_event("sendrealm.contact.created", event.project_id, contact_id, payload)
    )


def _fill(event: Claimed, resolved: Resolved, view: _View, plan: BatchPlan) -> None:
    contact_id = resolved.contact_id
    assert contact_id is not None
    held = view.find(event.project_id, IdentityType.CONTACT_ID, contact_id)
    assert held is not None
    external_id, email = resolved.fills.get("external_id"), resolved.fills.get("email")
    original = event.email_original if email is not None else None
    view.put(
        event.project_id,
        ContactIds(contact_id, external_id or held.external_id, email or held.email),
    )
    plan.contacts_filled.append(
        ContactFilled(contact_id, event.project_id, external_id, email, original)
    )
    changes = {name: {"from": None, "to": value} for name, value in resolved.fills.items()}
    payload = {"contact_id": contact_id, "source": "event", "changes": changes}
    plan.system_events.append(
        _system_event(
            "sendrealm.contact.updated",
            event.project_id,
            contact_id,
            msgspec.json.encode(payload).decode(),
        )
    )


def _system_event(name: str, project_id: int, contact_id: str, payload: str) -> SystemEvent:
    lane = lane_of(project_id, IdentityType.CONTACT_ID, contact_id)
    return SystemEvent(project_id, name, contact_id, payload, lane)


class ResolutionNote(msgspec.Struct, omit_defaults=True):
    """What `events.resolution` holds as JSON, for the trace."""

    reason: Reason
    by: IdentityType
    contact_id: str | None = None
    filled: list[str] = []
    conflicts: list[dict[str, str]] = []


def _resolution_text(resolved: Resolved, contact_id: str | None) -> str:
    conflicts = [{"field": field, "other_contact_id": other} for field, other in resolved.conflicts]
    filled = list(resolved.fills) if resolved.reason is Reason.MATCHED else []
    note = ResolutionNote(resolved.reason, resolved.by, contact_id, filled, conflicts)
    return msgspec.json.encode(note).decode()
