"""Parses the config of acting steps: send, change the contact, emit an event."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypedDict

from headrace.domain.automations.definition.model import (
    AudienceConfig,
    ContactUpdateConfig,
    EmailConfig,
    EmitConfig,
    Literal,
    MessageKind,
    NextOrExit,
    OnFailed,
    PushConfig,
    Reference,
    Source,
    TopicConfig,
    UnknownOutcome,
    Urgency,
)
from headrace.domain.automations.definition.reading import FieldReader
from headrace.domain.automations.filters.paths import MEMBERSHIPS, Path, Root, parse_path
from headrace.domain.automations.filters.values import kind as kind_of_value
from headrace.domain.automations.limits import (
    ITEMS_MAX,
    PUSH_TTL_SECONDS_MAX,
    TEXT_CHARACTERS_MAX,
)
from headrace.domain.automations.problems import Code
from headrace.domain.contacts.properties import check_value
from headrace.domain.contacts.properties import name_problem as property_name_problem
from headrace.domain.email import normalize_email
from headrace.domain.errors import echo
from headrace.domain.events.fields import check_event_name, check_external_id, is_reserved
from headrace.domain.ids import UUID_TEXT
from headrace.domain.json_fields import text_problem
from headrace.domain.json_text import Number
from headrace.domain.labels import check_name

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_APP_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PROPERTIES = "properties."


class _Common(TypedDict):
    template: Reference
    topic: Reference | None
    kind: MessageKind
    variables: tuple[tuple[str, Source], ...]
    on_skipped: NextOrExit
    on_failed: OnFailed


def _message(reader: FieldReader) -> _Common:
    wants_topic = reader.has("topic_id") or reader.has("topic")
    return {
        "template": _reference(reader, "template_version_id", "template"),
        "topic": _reference(reader, "topic_id", "topic") if wants_topic else None,
        "kind": reader.choice("kind", MessageKind, MessageKind.MARKETING),
        "variables": _variables(reader),
        "on_skipped": reader.choice("on_skipped", NextOrExit, NextOrExit.NEXT),
        "on_failed": reader.choice("on_failed", OnFailed, OnFailed.FAIL),
    }


def parse_email(reader: FieldReader) -> EmailConfig:
    unknown = None
    if reader.has("unknown_outcome"):
        unknown = reader.choice("unknown_outcome", UnknownOutcome, UnknownOutcome.HOLD)
    return EmailConfig(
        **_message(reader),
        domain=_reference(reader, "domain_id", "domain"),
        from_address=reader.text("from", rule=normalize_email),
        from_name=reader.text("from_name", rule=check_name),
        reply_to=reader.text("reply_to", rule=normalize_email),
        track_opens=reader.flag("track_opens"),
        track_clicks=reader.flag("track_clicks"),
        unknown_outcome=unknown,
    )


def parse_push(reader: FieldReader) -> PushConfig:
    ttl = reader.whole("ttl_seconds", 0, PUSH_TTL_SECONDS_MAX)
    return PushConfig(
        **_message(reader),
        app=_reference(reader, "app_id", "app", _app_id),
        ttl_seconds=86_400 if ttl is None else ttl,
        urgency=reader.choice("urgency", Urgency, Urgency.NORMAL),
    )


def _variables(reader: FieldReader) -> tuple[tuple[str, Source], ...]:
    """A text is a path; a value of its own is written `{"value": ...}`."""
    read: list[tuple[str, Source]] = []
    for name, sent in reader.mapping("variables").items():
        where = f"variables.{echo(name)}"
        if not _VARIABLE.fullmatch(name):
            message = "has a name that must be up to 64 letters, digits and _, no digit first"
            reader.bad(Code.INVALID_VALUE, where, message)
            continue
        try:
            if isinstance(sent, dict) and set(sent) == {"value"}:
                read.append((name, _literal(sent["value"])))
            elif type(sent) is str:
                read.append((name, value_path(sent)))
            else:
                message = 'must be a path such as trigger.payload.url, or {"value": ...}'
                reader.bad(Code.WRONG_TYPE, where, message)
        except ValueError as error:
            code = Code.INVALID_PATH if type(sent) is str else Code.INVALID_VALUE
            reader.bad(code, where, str(error))
    return tuple(read)


def parse_contact_update(reader: FieldReader) -> ContactUpdateConfig:
    changed: list[tuple[str, Source]] = []
    for field, sent in reader.mapping("set").items():
        name = f"set.{echo(field)}"
        problem = _contact_field_problem(field)
        if problem is not None:
            reader.bad(Code.INVALID_VALUE, name, problem)
            continue
        source = _source(reader, name, sent)
        if isinstance(source, Literal):
            try:
                check_contact_value(field, source.value)
            except ValueError as error:
                reader.bad(Code.INVALID_VALUE, name, str(error))
        if source is not None:
            changed.append((field, source))
    removed: list[str] = []
    for index, field in enumerate(reader.items("unset", ITEMS_MAX)):
        problem = _contact_field_problem(field)
        if problem is not None:
            reader.bad(Code.INVALID_VALUE, f"unset[{index}]", problem)
        elif field in {name for name, _ in changed}:
            reader.bad(Code.EXCLUSIVE, f"unset[{index}]", "is also in set")
        else:
            removed.append(field)
    if not changed and not removed and reader.sound:
        reader.bad(Code.MISSING, "", "needs at least one field in set or unset")
    return ContactUpdateConfig(set=tuple(changed), unset=tuple(dict.fromkeys(removed)))


def _contact_field_problem(field: Any) -> str | None:
    if field in {"email", "external_id"}:
        return None
    if type(field) is not str or not field.startswith(_PROPERTIES):
        return "must be email, external_id or properties.<name>"
    return property_name_problem(field.removeprefix(_PROPERTIES))


def check_contact_value(field: str, value: Any) -> Any:
    """A value in the form in which the contact keeps it.

    Raises:
        ValueError: the field cannot hold it, with a sentence.
    """
    if field not in {"email", "external_id"}:
        return check_value(value)
    if type(value) is not str:
        message = f"must be a string, got {kind_of_value(value)}"
        raise ValueError(message)
    return normalize_email(value) if field == "email" else check_external_id(value)


def parse_audience(reader: FieldReader) -> AudienceConfig:
    return AudienceConfig(_reference(reader, "audience_id", "audience"))


def parse_topic(reader: FieldReader) -> TopicConfig:
    is_subscribed = reader.flag("is_subscribed")
    if not reader.has("is_subscribed"):
        reader.bad(Code.MISSING, "is_subscribed", "is required: true or false")
    return TopicConfig(_reference(reader, "topic_id", "topic"), is_subscribed or False)


def parse_emit(reader: FieldReader) -> EmitConfig:
    name = read_event_name(reader)
    if is_reserved(name):
        message = "must not begin with sendrealm., which is reserved for system events"
        reader.bad(Code.RESERVED_EVENT_NAME, "event_name", message)
    payload: list[tuple[str, Source]] = []
    for field, sent in reader.mapping("payload").items():
        where = f"payload.{echo(field)}"
        problem = text_problem(field)
        if problem is not None or not 1 <= len(field) <= 100:
            message = f"has a name that {problem or 'must be 1 to 100 characters'}"
            reader.bad(Code.INVALID_VALUE, where, message)
            continue
        source = _source(reader, where, sent)
        if source is not None:
            payload.append((field, source))
    return EmitConfig(name, tuple(payload))


def read_event_name(reader: FieldReader) -> str:
    """The member `event_name`; empty when invalid."""
    return reader.text("event_name", required=True, rule=check_event_name) or ""


def _source(reader: FieldReader, name: str, sent: Any) -> Source | None:
    """A literal, or a path written `{"from": path}`."""
    try:
        if not isinstance(sent, dict):
            return _literal(sent)
        path = sent.get("from")
        if set(sent) == {"from"} and type(path) is str:
            return value_path(path)
        message = 'must be a string, number, boolean, array of strings, or {"from": path}'
        reader.bad(Code.WRONG_TYPE, name, message)
    except ValueError as error:
        code = Code.INVALID_PATH if isinstance(sent, dict) else Code.INVALID_VALUE
        reader.bad(code, name, str(error))
    return None


def _literal(value: Any) -> Literal:
    """A value as a property of a contact may have.

    Raises:
        ValueError: with a sentence for the caller.
    """
    check_value(value)
    size = len(value) if isinstance(value, str) else 0
    if isinstance(value, list):
        size = sum(map(len, value)) + len(value)
    if size > TEXT_CHARACTERS_MAX and not isinstance(value, Number):
        message = f"must have at most {TEXT_CHARACTERS_MAX} characters"
        raise ValueError(message)
    return Literal(value)


def _reference(
    reader: FieldReader, by_id: str, by_name: str, id_rule: Callable[[str], str] | None = None
) -> Reference:
    if reader.has(by_id) == reader.has(by_name):
        code = Code.EXCLUSIVE if reader.has(by_id) else Code.MISSING
        reader.bad(code, by_id, f"is required: exactly one of {by_id} and {by_name}")
    return Reference(
        id=reader.text(by_id, rule=id_rule or _uuid),
        name=reader.text(by_name, rule=check_name),
    )


def _uuid(text: str) -> str:
    if not UUID_TEXT.fullmatch(text):
        message = (
            "must be an id such as c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10; "
            "use the field without _id for a name"
        )
        raise ValueError(message)
    return text.lower()


def _app_id(text: str) -> str:
    if not _APP_ID.fullmatch(text):
        message = "must be the id of a push app: 1 to 64 letters, digits, - and _"
        raise ValueError(message)
    return text


def value_path(text: str) -> Path:
    """A path that leads to a value, not to a membership.

    Raises:
        ValueError: with a sentence for the caller.
    """
    path = parse_path(text, frozenset({Root.CONTACT, Root.TRIGGER, Root.STEPS}))
    if path.subject in MEMBERSHIPS:
        message = f"{path.text} is for filters only"
        raise ValueError(message)
    return path
