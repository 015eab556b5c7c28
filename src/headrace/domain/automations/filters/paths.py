"""Paths to a value: `payload.items[0].price`, `contact.email`, `steps.done.branch`."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from headrace.domain.automations.filters.values import MISSING, Value
from headrace.domain.automations.limits import (
    KEY_CHARACTERS_MAX,
    PATH_CHARACTERS_MAX,
    PATH_SEGMENTS_MAX,
)
from headrace.domain.contacts.properties import NAME_CHARACTERS_MAX
from headrace.domain.errors import echo
from headrace.domain.json_fields import text_problem

_KEY = re.compile(rf"[a-z0-9_]{{1,{KEY_CHARACTERS_MAX}}}")
_SEGMENT = re.compile(r"([^.\[\]\x00-\x1f\x7f-\x9f]+)((?:\[[0-9]{1,4}\])*)")
_INDEX = re.compile(r"\[([0-9]+)\]")


class Root(StrEnum):
    """What a path begins with."""

    PAYLOAD = "payload"
    EVENT = "event"
    CONTACT = "contact"
    TRIGGER = "trigger"
    STEPS = "steps"


class Subject(StrEnum):
    """The target of a path; some allow further segments into it."""

    PAYLOAD = "payload"
    NAME = "name"
    OCCURRED_AT = "occurred_at"
    EMAIL = "email"
    EXTERNAL_ID = "external_id"
    CREATED_AT = "created_at"
    PROPERTY = "properties"
    IN_AUDIENCE = "in_audience"
    SUBSCRIBED_TO = "subscribed_to"
    BRANCH = "branch"
    STATUS = "status"
    STEP_EVENT = "event.payload"
    LAST_EVENT = "message.last_event"


#: A membership has no value of its own: only filters test it, with an id.
MEMBERSHIPS = frozenset({Subject.IN_AUDIENCE, Subject.SUBSCRIBED_TO})

_CONTACT = (
    Subject.EMAIL,
    Subject.EXTERNAL_ID,
    Subject.CREATED_AT,
    Subject.IN_AUDIENCE,
    Subject.SUBSCRIBED_TO,
)
_FORMS = {
    Root.PAYLOAD: "payload.<field>",
    Root.EVENT: "event.name, event.occurred_at",
    Root.CONTACT: "contact.email, contact.external_id, contact.created_at, "
    "contact.properties.<name>, contact.in_audience, contact.subscribed_to",
    Root.TRIGGER: "trigger.payload.<field>, trigger.name, trigger.occurred_at",
    Root.STEPS: "steps.<key>.branch, steps.<key>.status, steps.<key>.event.payload.<field>, "
    "steps.<key>.message.last_event",
}


class Path(msgspec.Struct, frozen=True, kw_only=True):
    """A checked path. `rest` continues inside a payload or a property."""

    text: str
    root: Root
    subject: Subject
    rest: tuple[str | int, ...] = ()
    #: Key of the step, for paths that begin with `steps`.
    step: str | None = None


def parse_path(text: str, allowed: frozenset[Root], *, bare: bool = False) -> Path:
    """Read a path.

    Args:
        text: as written in a definition.
        allowed: what a path may begin with here.
        bare: whether a path that begins with none of these is a field of the payload.

    Raises:
        ValueError: with a sentence for the caller.
    """
    problem = text_problem(text)
    if problem is not None:
        raise ValueError(problem)
    if not 1 <= len(text) <= PATH_CHARACTERS_MAX:
        message = f"must be 1 to {PATH_CHARACTERS_MAX} characters, got {len(text)}"
        raise ValueError(message)
    head, dot, tail = text.partition(".")
    if not (dot and head in tuple(Root)):
        if not bare:
            raise ValueError(_unknown(text, allowed))
        return Path(text=text, root=Root.PAYLOAD, subject=Subject.PAYLOAD, rest=_segments(text))
    root = Root(head)
    if root not in allowed:
        raise ValueError(_unknown(text, allowed))
    match root:
        case Root.PAYLOAD:
            return Path(text=text, root=root, subject=Subject.PAYLOAD, rest=_segments(tail))
        case Root.CONTACT:
            return _contact_path(text, tail)
        case Root.STEPS:
            return _step_path(text, tail)
    return _event_path(text, root, tail)


def _contact_path(text: str, tail: str) -> Path:
    if tail in _CONTACT:
        return Path(text=text, root=Root.CONTACT, subject=Subject(tail))
    head, _, name = tail.partition(".")
    if head != Subject.PROPERTY or not name:
        raise ValueError(_unknown(text, frozenset({Root.CONTACT})))
    if len(name) > NAME_CHARACTERS_MAX:
        message = f"names a property of more than {NAME_CHARACTERS_MAX} characters"
        raise ValueError(message)
    # Properties are flat, so dots are part of the name.
    return Path(text=text, root=Root.CONTACT, subject=Subject.PROPERTY, rest=(name,))


def _event_path(text: str, root: Root, tail: str) -> Path:
    if tail in {Subject.NAME, Subject.OCCURRED_AT}:
        return Path(text=text, root=root, subject=Subject(tail))
    head, _, rest = tail.partition(".")
    if root is Root.TRIGGER and head == Subject.PAYLOAD:
        return Path(text=text, root=root, subject=Subject.PAYLOAD, rest=_segments(rest))
    raise ValueError(_unknown(text, frozenset({root})))


def _step_path(text: str, tail: str) -> Path:
    key, _, rest = tail.partition(".")
    if not _KEY.fullmatch(key):
        raise ValueError(_unknown(text, frozenset({Root.STEPS})))
    if rest in {Subject.BRANCH, Subject.STATUS, Subject.LAST_EVENT}:
        return Path(text=text, root=Root.STEPS, subject=Subject(rest), step=key)
    prefix = f"{Subject.STEP_EVENT}."
    if not rest.startswith(prefix):
        raise ValueError(_unknown(text, frozenset({Root.STEPS})))
    inside = _segments(rest.removeprefix(prefix))
    return Path(text=text, root=Root.STEPS, subject=Subject.STEP_EVENT, rest=inside, step=key)


def _segments(text: str) -> tuple[str | int, ...]:
    segments: list[str | int] = []
    for part in text.split("."):
        match = _SEGMENT.fullmatch(part)
        if match is None:
            message = (
                f"is not a path: '{echo(part)}' must be a field's name, perhaps with an index "
                "from 0 to 9999, such as items[0]"
            )
            raise ValueError(message)
        segments.append(match[1])
        segments.extend(int(index) for index in _INDEX.findall(match[2]))
    if len(segments) > PATH_SEGMENTS_MAX:
        message = f"has {len(segments)} parts; at most {PATH_SEGMENTS_MAX} are allowed"
        raise ValueError(message)
    return tuple(segments)


def _unknown(text: str, allowed: frozenset[Root]) -> str:
    forms = "; ".join(_FORMS[root] for root in Root if root in allowed)
    return f"'{echo(text)}' is not available here; allowed are {forms}"


def follow(value: Value, rest: tuple[str | int, ...]) -> Value:
    """The value that the segments lead to; MISSING when there is none or it is null."""
    for segment in rest:
        if isinstance(segment, int):
            if not isinstance(value, list) or segment >= len(value):
                return MISSING
            value = value[segment]
        elif isinstance(value, dict) and segment in value:
            value = value[segment]
        else:
            return MISSING
    return MISSING if value is None else value
