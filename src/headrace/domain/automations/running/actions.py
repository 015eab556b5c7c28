"""Decides the effects of acting steps, from one view of the contact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headrace.domain.automations.definition.action_parsing import check_contact_value
from headrace.domain.automations.definition.model import (
    AudienceConfig,
    ContactUpdateConfig,
    EmitConfig,
    Literal,
    Source,
    Step,
    StepType,
    TopicConfig,
)
from headrace.domain.automations.filters.paths import Path
from headrace.domain.automations.filters.values import Value, is_missing, json_of
from headrace.domain.automations.limits import EMITTED_PAYLOAD_BYTES_MAX
from headrace.domain.automations.running.effects import (
    ChangeMembership,
    Effect,
    EmitEvent,
    SetSubscription,
    UpdateContact,
)
from headrace.domain.automations.running.reasons import RunReason
from headrace.domain.automations.running.states import StepStatus
from headrace.domain.automations.running.view import Subscription, View
from headrace.domain.contacts.contact import IDENTIFIERS
from headrace.domain.contacts.properties import same_value, size_problem

_PROPERTIES = "properties."

#: Returns the value of a path.
LookUp = Callable[[Path], Value]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a step: an effect, or why there is none. `view` is what later steps see."""

    status: StepStatus
    reason: RunReason
    view: View
    effect: Effect | None = None
    detail: str = ""


def value_of(source: Source, find: LookUp) -> Value:
    """A literal, or the value of a path."""
    return source.value if isinstance(source, Literal) else find(source)


def act(step: Step, effect_id: str, view: View, find: LookUp, depth: int) -> Action:
    """Decide what a step of one of the acting types does.

    Args:
        step: with its config.
        effect_id: id of the effect.
        view: of the contact now.
        find: gives the value of a path.
        depth: of the run.
    """
    match step.config:
        case ContactUpdateConfig():
            return _update(step.key, step.config, effect_id, view, find)
        case AudienceConfig(audience):
            is_member = step.type is StepType.ADD_TO_AUDIENCE
            return _membership(step.key, audience.id or "", effect_id, view, is_member=is_member)
        case TopicConfig():
            return _subscription(step.key, step.config, effect_id, view)
        case EmitConfig():
            return _emit(step.key, step.config, effect_id, view, find, depth)
    message = f"step {step.key} does not act"
    raise ValueError(message)


def _skip(reason: RunReason, view: View, detail: str = "") -> Action:
    return Action(status=StepStatus.SKIPPED, reason=reason, view=view, detail=detail)


def _update(
    key: str, config: ContactUpdateConfig, effect_id: str, view: View, find: LookUp
) -> Action:
    contact = view.contact
    wanted: dict[str, Any] = dict.fromkeys(config.unset)
    unusable: list[str] = []
    for field, source in config.set:
        value = value_of(source, find)
        try:
            wanted[field] = None if is_missing(value) else check_contact_value(field, value)
        except ValueError:
            wanted[field] = None
        if wanted[field] is None:
            # A step never clears what it was to set.
            del wanted[field]
            unusable.append(field)
    identifiers: dict[str, str | None] = {
        field: value
        for field, value in wanted.items()
        if field in IDENTIFIERS and getattr(contact, field) != value
    }
    properties = {
        field.removeprefix(_PROPERTIES): value
        for field, value in wanted.items()
        if field not in IDENTIFIERS
        and not same_value(contact.properties.get(field.removeprefix(_PROPERTIES)), value)
    }
    left = f"not set, because no value fits:  {', '.join(unusable)}" if unusable else ""
    if not identifiers and not properties:
        all_unusable = unusable and not wanted
        return _skip(
            RunReason.MISSING_VARIABLE if all_unusable else RunReason.ALREADY_SO, view, left
        )
    after = {**contact.properties, **properties}
    kept = {name: value for name, value in after.items() if value is not None}
    problem = size_problem(kept)
    if problem is not None:
        detail = f"the properties {problem}"
        return Action(
            status=StepStatus.FAILED, reason=RunReason.STEP_FAILED, view=view, detail=detail
        )
    changed = msgspec.structs.replace(contact, properties=kept)
    return Action(
        status=StepStatus.COMPLETED,
        reason=RunReason.CONTACT_CHANGED,
        view=msgspec.structs.replace(view, contact=changed),
        effect=UpdateContact(
            id=effect_id, step_key=key, identifiers=identifiers, properties=properties
        ),
        detail=left,
    )


def _membership(
    key: str, audience_id: str, effect_id: str, view: View, *, is_member: bool
) -> Action:
    now = view.audiences.get(audience_id)
    if now is None:
        return _skip(RunReason.GONE, view)
    if now is is_member:
        return _skip(RunReason.ALREADY_SO, view)
    return Action(
        status=StepStatus.COMPLETED,
        reason=RunReason.AUDIENCE_ENTERED if is_member else RunReason.AUDIENCE_EXITED,
        view=msgspec.structs.replace(view, audiences={**view.audiences, audience_id: is_member}),
        effect=ChangeMembership(
            id=effect_id, step_key=key, audience_id=audience_id, is_member=is_member
        ),
    )


def _subscription(key: str, config: TopicConfig, effect_id: str, view: View) -> Action:
    topic_id = config.topic.id or ""
    now = view.topics.get(topic_id)
    if now is None:
        return _skip(RunReason.GONE, view)
    if now.is_subscribed is config.is_subscribed:
        return _skip(RunReason.ALREADY_SO, view)
    if config.is_subscribed and now.own_choice:
        return _skip(RunReason.OWN_CHOICE, view)
    after = Subscription(config.is_subscribed)
    return Action(
        status=StepStatus.COMPLETED,
        reason=RunReason.TOPIC_CHANGED,
        view=msgspec.structs.replace(view, topics={**view.topics, topic_id: after}),
        effect=SetSubscription(
            id=effect_id, step_key=key, topic_id=topic_id, is_subscribed=config.is_subscribed
        ),
    )


def _emit(
    key: str, config: EmitConfig, effect_id: str, view: View, find: LookUp, depth: int
) -> Action:
    members: dict[str, Any] = {}
    for name, source in config.payload:
        value = value_of(source, find)
        if not is_missing(value):
            members[name] = value
    text = json_of(members)
    most = min(EMITTED_PAYLOAD_BYTES_MAX, view.policies.event_payload_limit_bytes)
    size = len(text.encode())
    if size > most:
        detail = f"the payload would be {size} bytes; at most {most} are allowed"
        return Action(
            status=StepStatus.FAILED, reason=RunReason.STEP_FAILED, view=view, detail=detail
        )
    return Action(
        status=StepStatus.COMPLETED,
        reason=RunReason.EVENT_EMITTED,
        view=view,
        effect=EmitEvent(
            id=effect_id,
            step_key=key,
            event_name=config.event_name,
            payload=text,
            depth=depth + 1,
        ),
        detail=config.event_name,
    )
