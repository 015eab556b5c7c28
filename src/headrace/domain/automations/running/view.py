"""The facts about contact and project that a decision reads, through paths and filters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from headrace.domain import timestamps
from headrace.domain.automations.definition.model import (
    AudienceConfig,
    ConditionConfig,
    Definition,
    TopicConfig,
    WaitConfig,
)
from headrace.domain.automations.definition.zones import zone_of
from headrace.domain.automations.filters.evaluation import Facts
from headrace.domain.automations.filters.model import Filter, comparisons
from headrace.domain.automations.filters.paths import Path, Root, Subject, follow
from headrace.domain.automations.filters.values import MISSING, Value
from headrace.domain.automations.running.runs import Event, Run
from headrace.domain.contacts.contact import Contact
from headrace.domain.json_text import Number

#: Property of a contact that names its time zone.
TIMEZONE_PROPERTY = "timezone"


class Subscription(msgspec.Struct, frozen=True):
    """The contact's subscription to a topic."""

    is_subscribed: bool
    #: Whether the contact itself has chosen it, not a default or automation.
    own_choice: bool = False


class RunPolicies(msgspec.Struct, frozen=True, kw_only=True):
    """Policies of the project that runs obey."""

    default_timezone: str = "UTC"
    wait_max_days: int = 365
    timer_hold_max_seconds: int = 900
    open_runs_per_contact_max: int = 100
    automation_depth_max: int = 5
    #: Of all automations of the project; None: no limit.
    automation_start_limit_per_hour: int | None = None
    event_payload_limit_bytes: int = 65_536


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is read before a decision: `needs` says which audiences and topics."""

    contact: Contact
    #: Whether the contact is a member; a missing audience was deleted.
    audiences: Mapping[str, bool] = {}
    #: A missing topic was deleted.
    topics: Mapping[str, Subscription] = {}
    #: Step key -> last event of its message, such as `send` or `open`.
    last_message_events: Mapping[str, str] = {}
    device_timezone: str | None = None
    policies: RunPolicies = RunPolicies()
    #: Sends that the run reaches before this time of its own are skipped; None: none.
    skip_sends_before_us: int | None = None


class Needs(msgspec.Struct, frozen=True):
    """Ids of objects that the view of every run of a version must contain."""

    audiences: frozenset[str]
    topics: frozenset[str]


def needs(definition: Definition) -> Needs:
    """What steps and filters of a published definition refer to."""
    asked: dict[Subject, set[str]] = {Subject.IN_AUDIENCE: set(), Subject.SUBSCRIBED_TO: set()}
    filters: list[Filter] = [definition.trigger.filters]
    filters += [rule.filters for rule in definition.exit_on]
    for step in definition.steps:
        match step.config:
            case AudienceConfig(audience):
                asked[Subject.IN_AUDIENCE].add(audience.id or "")
            case TopicConfig(topic):
                asked[Subject.SUBSCRIBED_TO].add(topic.id or "")
            case WaitConfig(alternatives=alternatives):
                filters += [each.filters for each in alternatives]
            case ConditionConfig(cases):
                filters += [case.filters for case in cases]
    for each in (comparison for one in filters for comparison in comparisons(one)):
        if each.path.subject in asked:
            ids = each.value if isinstance(each.value, tuple) else (each.value,)
            asked[each.path.subject].update(map(str, ids))
    return Needs(
        frozenset(asked[Subject.IN_AUDIENCE] - {""}), frozenset(asked[Subject.SUBSCRIBED_TO] - {""})
    )


def contact_zone(view: View) -> str:
    """Zone of the contact: its property, else that of its device, else the project's."""
    own = view.contact.properties.get(TIMEZONE_PROPERTY)
    for name in (own, view.device_timezone, view.policies.default_timezone):
        if isinstance(name, str) and zone_of(name) is not None:
            return name
    return "UTC"


def look_up(path: Path, event: Event, run: Run | None, view: View | None) -> Value:
    """The value that a path leads to.

    Args:
        path: any but a membership.
        event: what `payload.` and `event.` are about.
        run: None before it has begun.
        view: None for an event that belongs to no contact.
    """
    match path.root:
        case Root.PAYLOAD | Root.EVENT:
            return _of_event(path, event)
        case Root.TRIGGER:
            return _of_event(path, event if run is None else run.trigger)
        case Root.CONTACT:
            return MISSING if view is None else _of_contact(path, view.contact)
        case Root.STEPS:
            return MISSING if run is None else _of_step(path, run, view)


def _of_event(path: Path, event: Event) -> Value:
    match path.subject:
        case Subject.NAME:
            return event.name
        case Subject.OCCURRED_AT:
            return timestamps.to_text(event.occurred_us)
    return follow(event.payload, path.rest)


def _of_contact(path: Path, contact: Contact) -> Value:
    match path.subject:
        case Subject.EMAIL:
            value: Any = contact.email
        case Subject.EXTERNAL_ID:
            value = contact.external_id
        case Subject.CREATED_AT:
            value = timestamps.to_text(contact.created_us)
        case _:
            value = contact.properties.get(str(path.rest[0]))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Number(repr(value))
    return MISSING if value is None else value


def _of_step(path: Path, run: Run, view: View | None) -> Value:
    record = run.record(path.step or "")
    if record is None:
        return MISSING
    value: Value = None
    match path.subject:
        case Subject.BRANCH:
            value = record.branch
        case Subject.STATUS:
            value = record.status.value
        case Subject.LAST_EVENT:
            value = None if view is None else view.last_message_events.get(record.key)
        case Subject.STEP_EVENT:
            value = None if record.event is None else follow(record.event.payload, path.rest)
    return MISSING if value is None else value


def facts(event: Event, run: Run | None, view: View | None, now_us: int) -> Facts:
    """What a filter about an event is evaluated against."""
    find: Callable[[Path], Value] = lambda path: look_up(path, event, run, view)  # noqa: E731

    def is_member(subject: Subject, name: str) -> bool:
        if view is None:
            return False
        if subject is Subject.IN_AUDIENCE:
            return view.audiences.get(name, False)
        subscription = view.topics.get(name)
        return subscription is not None and subscription.is_subscribed

    return Facts(look_up=find, is_member=is_member, now_us=now_us)
