"""Parses JSON to a definition and collects every problem."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import msgspec

from headrace.domain.automations.definition.action_parsing import read_event_name
from headrace.domain.automations.definition.aliases import Rewritten, rewrite
from headrace.domain.automations.definition.model import (
    TRIGGER,
    Alternative,
    Branch,
    Connection,
    Definition,
    Reentry,
    ReentryMode,
    Step,
    StepType,
    Trigger,
)
from headrace.domain.automations.definition.reading import FieldReader, load_object, nearest
from headrace.domain.automations.definition.step_parsing import parse_alternative, parse_config
from headrace.domain.automations.filters.model import EXIT_FILTER, TRIGGER_FILTER, parse_filter
from headrace.domain.automations.filters.paths import Path, Root, parse_path
from headrace.domain.automations.filters.values import json_of
from headrace.domain.automations.limits import (
    CONNECTIONS_MAX,
    DEFINITION_BYTES_MAX,
    EDITOR_LAYOUT_BYTES_MAX,
    EXIT_RULES_MAX,
    KEY_CHARACTERS_MAX,
    MAX_AGE_SECONDS,
    SECONDS_MAX,
    STEPS_MAX,
)
from headrace.domain.automations.problems import Code, Problems
from headrace.domain.errors import echo
from headrace.domain.json_fields import kind_of
from headrace.domain.json_text import Number
from headrace.domain.labels import check_description, check_name

_DOCUMENT = ("name", "description", "definition", "editor_layout")
_DEFINITION = ("trigger", "steps", "connections", "exit_on")
_TRIGGER = ("event_name", "filters", "reentry", "max_age_seconds", "allow_imported")
_REENTRY = ("mode", "seconds", "key")
_EXIT = ("event_name", "filters", "correlate")
_KEY = re.compile(rf"[a-z0-9_]{{1,{KEY_CHARACTERS_MAX}}}")


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """The result of parsing.

    `definition` is None if it could not be read at all; otherwise `problems` lists what is wrong,
    and it may be published only without any.
    """

    problems: Problems
    name: str | None = None
    description: str | None = None
    definition: Definition | None = None
    #: Path of the definition in the document, for further problems: `definition` or empty.
    field: str = ""
    #: Compact JSON of the definition, with aliases replaced.
    text: str = ""
    rewritten: tuple[Rewritten, ...] = ()
    editor_layout: str | None = None

    @property
    def sha256(self) -> str:
        """Hash of the definition, in hexadecimal, whatever the order of members."""
        value = json.loads(self.text, parse_int=Number, parse_float=Number)
        return sha256(json_of(value, in_order=True).encode()).hexdigest()


def parse_document(text: bytes) -> Document:
    """Read a definition, or an object with `name` and `definition` as `POST /automations` takes.

    Never raises for any text: everything is in the problems of the result.
    """
    problems = Problems()
    value = load_object(text, problems)
    if value is None:
        return Document(problems=problems)
    if "definition" not in value:
        return _with_definition(Document(problems=problems), value)
    reader = FieldReader(value, "", _DOCUMENT, problems)
    document = _document(reader, required=True)
    return _with_definition(document, reader.get("definition", required=True))


def parse_fields(text: bytes, *, required: bool) -> Document:
    """Read the fields of an automation, as `POST` and `PATCH /automations` take them.

    Never raises for any text: everything is in the problems of the result.

    Args:
        required: whether there must be a name and a definition. An absent definition leaves `text`
            empty.
    """
    problems = Problems()
    value = load_object(text, problems)
    if value is None:
        return Document(problems=problems)
    reader = FieldReader(value, "", _DOCUMENT, problems)
    document = _document(reader, required=required)
    definition = reader.get("definition", required=required)
    return document if definition is None else _with_definition(document, definition)


def _document(reader: FieldReader, *, required: bool) -> Document:
    """Everything but the definition."""
    problems = reader.problems
    layout = reader.get("editor_layout")
    kept = None
    if layout is not None:
        kept = _sized(layout, EDITOR_LAYOUT_BYTES_MAX, "editor_layout", problems)
    return Document(
        problems=problems,
        name=reader.text("name", required=required, rule=check_name),
        description=reader.text("description", rule=check_description),
        field="definition",
        editor_layout=kept,
    )


def _with_definition(document: Document, value: Any) -> Document:
    field, problems = document.field, document.problems
    if value is None or not _sized(value, DEFINITION_BYTES_MAX, field, problems):
        return document
    rewritten = rewrite(value, field, problems)
    definition = parse_definition(value, field, problems)
    return msgspec.structs.replace(
        document, definition=definition, text=json_of(value), rewritten=rewritten
    )


def _sized(value: Any, most: int, field: str, problems: Problems) -> str | None:
    """The value as compact JSON; None when it is not an object, too large, or cannot be stored."""
    if not isinstance(value, dict):
        problems.add(Code.WRONG_TYPE, field, f"must be an object, got {kind_of(value)}")
        return None
    text = json_of(value)
    if "\\u0000" in text:
        problems.add(Code.INVALID_VALUE, field, "must not contain the character NUL")
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        message = "must not contain a lone surrogate"
        problems.add(Code.INVALID_VALUE, field, message)
        return None
    if size > most:
        message = f"must be at most {most} bytes of compact JSON, got {size}"
        problems.add(Code.TOO_LARGE, field, message)
        return None
    return text


def parse_definition(value: Any, field: str, problems: Problems) -> Definition:
    """Read a definition from parsed JSON; problems are added under `field`."""
    reader = FieldReader(value, field, _DEFINITION, problems)
    return Definition(
        trigger=_trigger(reader),
        steps=_steps(reader),
        connections=_connections(reader),
        exit_on=_exit_rules(reader),
    )


def _trigger(definition: FieldReader) -> Trigger:
    value = definition.get("trigger", required=True)
    if value is None:
        return Trigger(event_name="")
    reader = FieldReader(value, definition.at("trigger"), _TRIGGER, definition.problems)
    max_age = reader.whole("max_age_seconds", 1, SECONDS_MAX)
    trigger = Trigger(
        event_name=read_event_name(reader),
        reentry=_reentry(reader),
        max_age_seconds=MAX_AGE_SECONDS if max_age is None else max_age,
        allow_imported=reader.flag("allow_imported") or False,
    )
    if reader.has("filters"):
        field = reader.at("filters")
        read = parse_filter(reader.get("filters"), TRIGGER_FILTER, field, reader.problems)
        trigger = msgspec.structs.replace(trigger, filters=read)
    return trigger


def _reentry(trigger: FieldReader) -> Reentry:
    value = trigger.get("reentry")
    if value is None:
        return Reentry()
    reader = FieldReader(value, trigger.at("reentry"), _REENTRY, trigger.problems)
    mode = reader.choice("mode", ReentryMode, ReentryMode.EVERY_EVENT)
    if not reader.has("mode"):
        reader.bad(Code.MISSING, "mode", f"is required: one of {', '.join(ReentryMode)}")
    seconds = 0
    if mode is ReentryMode.ONCE_PER:
        seconds = reader.whole("seconds", 1, SECONDS_MAX, required=True) or 0
    elif reader.has("seconds"):
        reader.bad(Code.EXCLUSIVE, "seconds", "is for the mode once_per only")
    key = reader.text("key", rule=_event_path, code=Code.INVALID_PATH)
    if key is not None and mode is ReentryMode.EVERY_EVENT:
        reader.bad(Code.EXCLUSIVE, "key", "has no meaning in the mode every_event")
    return Reentry(mode=mode, seconds=seconds, key=key)


def _event_path(text: str) -> Path:
    return parse_path(text, frozenset({Root.PAYLOAD, Root.EVENT}))


def _steps(definition: FieldReader) -> tuple[Step, ...]:
    items = definition.items("steps", STEPS_MAX, required=True, least=1)
    steps: list[Step] = []
    keys: set[str] = set()
    for index, item in enumerate(items):
        step = _step(item, index, definition)
        if step is None:
            continue
        if step.key in keys:
            field = f"{definition.at('steps')}[{index}].key"
            message = f"'{step.key}' is already the key of another step"
            definition.problems.add(Code.DUPLICATE_KEY, field, message, step.key)
            continue
        keys.add(step.key)
        steps.append(step)
    return tuple(steps)


def _step(item: Any, index: int, definition: FieldReader) -> Step | None:
    """A step with a key, so that connections can lead to it; the rest may be invalid."""
    field = f"{definition.at('steps')}[{index}]"
    reader = FieldReader(item, field, ("key", "type", "config"), definition.problems)
    key = reader.text("key", required=True, rule=_step_key)
    reader.step = key
    kind = reader.text("type", required=True, rule=_step_type, code=Code.UNKNOWN_TYPE)
    if key is None:
        return None
    value = reader.get("config", required=True)
    config = None
    if kind is not None and value is not None:
        config = parse_config(kind, value, reader.at("config"), definition.problems, key)
    return Step(key=key, type=kind, config=config, index=index)


def _step_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        message = f"must be 1 to {KEY_CHARACTERS_MAX} characters of a-z, 0-9 and _"
        raise ValueError(message)
    if text == TRIGGER:
        message = "must not be 'trigger', which is where connections begin"
        raise ValueError(message)
    return text


def _step_type(text: str) -> StepType:
    if text in tuple(StepType):
        return StepType(text)
    meant = nearest(text, tuple(StepType))
    hint = f"did you mean {meant}? " if meant else ""
    message = f"'{echo(text)}' is not a step type; {hint}allowed are {', '.join(StepType)}"
    raise ValueError(message)


def _connections(definition: FieldReader) -> tuple[Connection, ...]:
    connections: list[Connection] = []
    for index, item in enumerate(definition.items("connections", CONNECTIONS_MAX)):
        field = f"{definition.at('connections')}[{index}]"
        reader = FieldReader(item, field, ("from", "to", "branch"), definition.problems)
        source = reader.text("from", required=True, rule=str)
        target = reader.text("to", required=True, rule=str)
        branch = reader.text("branch", rule=str)
        if source is not None and target is not None:
            made = Connection(
                source=source, target=target, branch=branch or Branch.NEXT, index=index
            )
            connections.append(made)
    return tuple(connections)


def _exit_rules(definition: FieldReader) -> tuple[Alternative, ...]:
    rules: list[Alternative] = []
    for index, item in enumerate(definition.items("exit_on", EXIT_RULES_MAX)):
        field = f"{definition.at('exit_on')}[{index}]"
        reader = FieldReader(item, field, _EXIT, definition.problems)
        rules.append(parse_alternative(reader, EXIT_FILTER))
    return tuple(rules)
