"""Parses the config of each type of step."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from headrace.domain.automations.definition.action_parsing import (
    parse_audience,
    parse_contact_update,
    parse_email,
    parse_emit,
    parse_push,
    parse_topic,
    read_event_name,
    value_path,
)
from headrace.domain.automations.definition.durations import parse_duration
from headrace.domain.automations.definition.model import (
    Alternative,
    Branch,
    Case,
    ConditionConfig,
    Config,
    Correlation,
    DelayConfig,
    LookBack,
    NextOrExit,
    StepType,
    Until,
    UntilField,
    WaitConfig,
)
from headrace.domain.automations.definition.reading import FieldReader, whole_number
from headrace.domain.automations.definition.zones import check_zone
from headrace.domain.automations.filters.model import (
    ALWAYS,
    CONDITION_FILTER,
    WAIT_FILTER,
    All,
    Filter,
    Place,
    parse_filter,
)
from headrace.domain.automations.filters.paths import Path, Root, parse_path
from headrace.domain.automations.limits import (
    ALTERNATIVES_MAX,
    KEY_CHARACTERS_MAX,
    LOOK_BACK_SECONDS_MAX,
    SECONDS_MAX,
)
from headrace.domain.automations.problems import Code, Problems
from headrace.domain.errors import echo

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_BRANCH = re.compile(rf"[a-z0-9_]{{1,{KEY_CHARACTERS_MAX}}}")

_MESSAGE = (
    "template_version_id",
    "template",
    "topic_id",
    "topic",
    "kind",
    "variables",
    "on_skipped",
    "on_failed",
)
#: Members that the config of each type may have.
KNOWN: dict[StepType, tuple[str, ...]] = {
    StepType.DELAY: ("seconds", "duration", "until", "until_field", "spread_seconds"),
    StepType.CONDITION: ("filters", "cases"),
    StepType.WAIT_FOR_EVENT: (
        "event_name",
        "events",
        "timeout_seconds",
        "filters",
        "correlate",
        "message_from",
        "look_back",
        "include_machine",
    ),
    StepType.SEND_EMAIL: (
        *_MESSAGE,
        "domain_id",
        "domain",
        "from",
        "from_name",
        "reply_to",
        "track_opens",
        "track_clicks",
        "unknown_outcome",
    ),
    StepType.SEND_PUSH: (*_MESSAGE, "app_id", "app", "ttl_seconds", "urgency"),
    StepType.CONTACT_UPDATE: ("set", "unset"),
    StepType.ADD_TO_AUDIENCE: ("audience_id", "audience"),
    StepType.REMOVE_FROM_AUDIENCE: ("audience_id", "audience"),
    StepType.SET_TOPIC_SUBSCRIPTION: ("topic_id", "topic", "is_subscribed"),
    StepType.EMIT_EVENT: ("event_name", "payload"),
}


def parse_config(
    kind: StepType, value: Any, field: str, problems: Problems, key: str
) -> Config | None:
    """Read the config of a step; None if invalid, with the problems added."""
    before = len(problems)
    config = _READERS[kind](FieldReader(value, field, KNOWN[kind], problems, key))
    return config if len(problems) == before else None


def _delay(reader: FieldReader) -> DelayConfig:
    kinds = ("seconds", "duration", "until", "until_field")
    given = [name for name in kinds if reader.has(name)]
    if len(given) != 1:
        code = Code.EXCLUSIVE if given else Code.MISSING
        got = f"got {', '.join(given)}" if given else "got none"
        reader.bad(code, "", f"needs exactly one of {', '.join(kinds)}; {got}")
    seconds = reader.whole("seconds", 1, SECONDS_MAX)
    if reader.has("duration"):
        seconds = reader.text("duration", rule=parse_duration)
    return DelayConfig(
        seconds=seconds,
        until=_until(reader) if reader.has("until") else None,
        until_field=_until_field(reader) if reader.has("until_field") else None,
        spread_seconds=reader.whole("spread_seconds", 0, SECONDS_MAX) or 0,
    )


def _until(config: FieldReader) -> Until:
    known = ("time", "weekdays", "timezone", "at_least_seconds")
    reader = _inside(config, "until", known)
    time = reader.text("time", required=True, rule=_time_of_day) or (0, 0)
    days: set[int] = set()
    for item in reader.items("weekdays", len(WEEKDAYS), least=1):
        if item in WEEKDAYS:
            days.add(WEEKDAYS.index(item))
        else:
            message = f"must have only {', '.join(WEEKDAYS)}"
            reader.bad(Code.INVALID_VALUE, "weekdays", message)
    zone = reader.text("timezone", rule=_zone)
    return Until(
        hour=time[0],
        minute=time[1],
        weekdays=frozenset(days),
        timezone=None if zone == "contact" else zone,
        at_least_seconds=reader.whole("at_least_seconds", 0, SECONDS_MAX) or 0,
    )


def _time_of_day(text: str) -> tuple[int, int]:
    match = _TIME.fullmatch(text)
    if match is None:
        message = "must be a time of day from 00:00 to 23:59, such as 09:00"
        raise ValueError(message)
    return int(match[1]), int(match[2])


def _zone(text: str) -> str:
    return text if text == "contact" else check_zone(text)


def _until_field(config: FieldReader) -> UntilField:
    reader = _inside(config, "until_field", ("field", "offset_seconds", "if_past", "if_missing"))
    path = reader.text("field", required=True, rule=value_path, code=Code.INVALID_PATH)
    return UntilField(
        field=path or _NOWHERE,
        offset_seconds=reader.whole("offset_seconds", -SECONDS_MAX, SECONDS_MAX) or 0,
        if_past=reader.choice("if_past", NextOrExit, NextOrExit.NEXT),
        if_missing=reader.choice("if_missing", NextOrExit, NextOrExit.NEXT),
    )


def _condition(reader: FieldReader) -> ConditionConfig:
    if reader.has("filters") == reader.has("cases"):
        code = Code.EXCLUSIVE if reader.has("filters") else Code.MISSING
        reader.bad(code, "", "needs exactly one of filters and cases")
    if not reader.has("cases"):
        holds = Case(Branch.TRUE, _filters(reader, CONDITION_FILTER))
        return ConditionConfig((holds,), Branch.FALSE)
    cases: list[Case] = []
    taken: set[str] = {Branch.OTHERWISE}
    for index, item in enumerate(reader.items("cases", ALTERNATIVES_MAX, least=1)):
        field = f"{reader.at('cases')}[{index}]"
        each = FieldReader(item, field, ("branch", "filters"), reader.problems, reader.step)
        branch = each.text("branch", required=True, rule=_branch) or f"_{index}"
        if branch in taken:
            message = f"'{branch}' is reserved for events that match no case"
            each.bad(Code.DUPLICATE_BRANCH, "branch", message)
        taken.add(branch)
        each.get("filters", required=True)
        cases.append(Case(branch, _filters(each, CONDITION_FILTER)))
    return ConditionConfig(tuple(cases), Branch.OTHERWISE)


def _wait(reader: FieldReader) -> WaitConfig:
    if reader.has("event_name") == reader.has("events"):
        code = Code.EXCLUSIVE if reader.has("events") else Code.MISSING
        reader.bad(code, "", "needs exactly one of event_name and events")
    if reader.has("events"):
        alternatives = _alternatives(reader)
    else:
        alternatives = (parse_alternative(reader, WAIT_FILTER),)
    return WaitConfig(
        alternatives=alternatives,
        timeout_seconds=reader.whole("timeout_seconds", 1, SECONDS_MAX),
        message_from=reader.text("message_from", rule=_key_of_step),
        look_back=_look_back(reader),
        include_machine=reader.flag("include_machine") or False,
    )


def _alternatives(config: FieldReader) -> tuple[Alternative, ...]:
    """Each of `events`; the config's own conditions apply to all of them."""
    filters, correlate = _filters(config, WAIT_FILTER), read_correlation(config)
    found: list[Alternative] = []
    for index, item in enumerate(config.items("events", ALTERNATIVES_MAX, least=1)):
        field = f"{config.at('events')}[{index}]"
        known = ("event_name", "filters", "correlate", "branch")
        reader = FieldReader(item, field, known, config.problems, config.step)
        own = parse_alternative(reader, WAIT_FILTER)
        branch = reader.text("branch", rule=_branch) or Branch.RECEIVED
        if branch == Branch.TIMED_OUT:
            reader.bad(Code.DUPLICATE_BRANCH, "branch", "timed_out is for the timeout")
        found.append(
            Alternative(
                event_name=own.event_name,
                filters=own.filters if filters == ALWAYS else All((filters, own.filters)),
                correlate=(*correlate, *own.correlate),
                branch=branch,
            )
        )
    return tuple(found)


def parse_alternative(reader: FieldReader, place: Place) -> Alternative:
    """Read `event_name`, `filters`, `correlate` of a wait, one of its events, or an exit rule."""
    return Alternative(
        event_name=read_event_name(reader),
        filters=_filters(reader, place),
        correlate=read_correlation(reader),
    )


def _look_back(reader: FieldReader) -> LookBack | int:
    value = reader.get("look_back")
    if value is None:
        return LookBack.RUN
    if type(value) is str and value in tuple(LookBack):
        return LookBack(value)
    seconds = whole_number(value)
    if seconds is None or not 0 <= seconds <= LOOK_BACK_SECONDS_MAX:
        message = f"must be run, step, or a whole number of seconds to {LOOK_BACK_SECONDS_MAX}"
        reader.bad(Code.INVALID_VALUE, "look_back", message)
        return LookBack.RUN
    return seconds


def _filters(reader: FieldReader, place: Place) -> Filter:
    if not reader.has("filters"):
        return ALWAYS
    return parse_filter(reader.get("filters"), place, reader.at("filters"), reader.problems)


def _branch(text: str) -> str:
    if not _BRANCH.fullmatch(text):
        message = f"must be 1 to {KEY_CHARACTERS_MAX} characters of a-z, 0-9 and _"
        raise ValueError(message)
    return text


def _key_of_step(text: str) -> str:
    if not _BRANCH.fullmatch(text):
        message = "must be the key of a step that sends a message"
        raise ValueError(message)
    return text


def _inside(config: FieldReader, name: str, known: tuple[str, ...]) -> FieldReader:
    return FieldReader(config.get(name), config.at(name), known, config.problems, config.step)


def read_correlation(reader: FieldReader) -> Correlation:
    """Pairs of paths: one in the event, and one in the run's data when the wait begins."""
    pairs: list[tuple[Path, Path]] = []
    for left, right in reader.mapping("correlate").items():
        name = f"correlate.{echo(left)}"
        if type(right) is not str:
            reader.bad(Code.WRONG_TYPE, name, "must be a path such as trigger.payload.order_id")
            continue
        try:
            own = parse_path(left, frozenset({Root.PAYLOAD, Root.EVENT}))
            other = parse_path(right, frozenset({Root.TRIGGER, Root.STEPS}))
        except ValueError as error:
            reader.bad(Code.INVALID_PATH, name, str(error))
            continue
        pairs.append((own, other))
    return tuple(pairs)


#: Placeholder for a path that could not be read; such a config is not used.
_NOWHERE = parse_path("trigger.name", frozenset({Root.TRIGGER}))

_READERS: dict[StepType, Callable[[FieldReader], Config]] = {
    StepType.DELAY: _delay,
    StepType.CONDITION: _condition,
    StepType.WAIT_FOR_EVENT: _wait,
    StepType.SEND_EMAIL: parse_email,
    StepType.SEND_PUSH: parse_push,
    StepType.CONTACT_UPDATE: parse_contact_update,
    StepType.ADD_TO_AUDIENCE: parse_audience,
    StepType.REMOVE_FROM_AUDIENCE: parse_audience,
    StepType.SET_TOPIC_SUBSCRIPTION: parse_topic,
    StepType.EMIT_EVENT: parse_emit,
}
