"""The one step list of processing: resolve the contact, fan out, done.

Pure: it reads contacts through a function, and all it decides comes back as one `BatchPlan`, which
the store writes in the transaction that marks the events.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from headrace.domain.access.policies import DEFAULTS, Policies
from headrace.domain.deliveries.subscriptions import SubscriptionIndex
from headrace.domain.events.placeholders import BUILT_IN, Placeholders
from headrace.domain.ids import uuid_text
from headrace.pipeline.processing.plan_contacts import ContactPlanner, MergeWanted
from headrace.store.contract.automations import InboxEvent
from headrace.store.contract.processing import (
    BatchPlan,
    Claimed,
    Done,
    FindContact,
    NewDelivery,
    SubscriberRule,
)


def random_uuid() -> str:
    """Text of a random UUID (version 4)."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return uuid_text(bytes(raw))


class Rules:
    """What processing depends on besides the events; replaced as a whole when it changes.

    Args:
        automation_events: names of events that may start or continue a run, by project.
    """

    def __init__(
        self,
        policies: dict[int, Policies],
        subscribers: Sequence[SubscriberRule],
        automation_events: Mapping[int, frozenset[str]] | None = None,
    ) -> None:
        self._policies = policies
        self._automation_events = automation_events or {}
        self._placeholders = {
            project_id: Placeholders(words)
            for project_id, held in policies.items()
            if (words := held.placeholder_identifiers)
        }
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

    def placeholders(self, project_id: int) -> Placeholders:
        """Placeholder identifiers, which resolve to no contact."""
        return self._placeholders.get(project_id, BUILT_IN)

    def subscribers(self, project_id: int, event: str) -> Sequence[str]:
        """Ids of the subscribers that want an event."""
        matches = self._indexes.get(project_id, self._everywhere).match(event)
        return [match.subscriber for match in matches]

    def concerns_automations(self, project_id: int, event: str) -> bool:
        """Whether an event may start or continue a run."""
        return event in self._automation_events.get(project_id, ())


def _index(rules: Sequence[SubscriberRule]) -> SubscriptionIndex[str]:
    return SubscriptionIndex((rule.id, rule.events) for rule in rules)


class BatchPlanner:
    """See `headrace.store.contract.processing.Planner`."""

    def __init__(self, rules: Rules, new_id: Callable[[], str] = random_uuid) -> None:
        self._rules = rules
        self._new_id = new_id
        #: Deliveries of the last plan.
        self.deliveries = 0
        #: Events of the last plan that concern automations.
        self.inbox = 0
        #: Merges that the last plan asks for, once it is committed.
        self.merges: list[MergeWanted] = []

    def __call__(self, batch: Sequence[Claimed], find: FindContact) -> BatchPlan:
        """Decide about each event in turn; later ones see what earlier ones decided."""
        plan = BatchPlan()
        contacts = ContactPlanner(self._rules, self._new_id, find, plan)
        for event in batch:
            project_id = event.project_id
            contact_id, resolution = contacts.decide(event)
            for subscriber_id in self._rules.subscribers(project_id, event.event):
                plan.deliveries.append(
                    NewDelivery(
                        self._new_id(), project_id, event.sequence, subscriber_id, event.lane
                    )
                )
            if self._rules.concerns_automations(project_id, event.event):
                # A deleted contact no longer resolves, but its runs still have to end.
                about = contact_id or event.contact_id
                plan.inbox.append(InboxEvent(event.lane, event.sequence, project_id, about))
            plan.done.append(
                Done(event.sequence, project_id, event.attempt, contact_id, resolution, event.lane)
            )
        self.deliveries = len(plan.deliveries)
        self.inbox = len(plan.inbox)
        self.merges = contacts.merges
        return plan
