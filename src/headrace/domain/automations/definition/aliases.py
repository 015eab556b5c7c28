"""Terms of related products, replaced by Headrace's when a definition is read."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.automations.definition.durations import parse_duration
from headrace.domain.automations.definition.model import Branch, StepType
from headrace.domain.automations.limits import CONNECTIONS_MAX, STEPS_MAX
from headrace.domain.automations.problems import Code, Problems
from headrace.domain.json_text import Number

_BRANCHES = {
    StepType.WAIT_FOR_EVENT: {"timeout": Branch.TIMED_OUT, "event_received": Branch.RECEIVED},
    StepType.CONDITION: {"yes": Branch.TRUE, "no": Branch.FALSE},
}
_MEMBERS = {
    StepType.DELAY: {"duration_seconds": "seconds"},
    StepType.CONDITION: {"filter_rule": "filters"},
    StepType.WAIT_FOR_EVENT: {"filter_rule": "filters"},
}


class Rewritten(msgspec.Struct, frozen=True):
    """A term and its replacement."""

    field: str
    was: str
    now: str


def rewrite(definition: dict[str, Any], field: str, problems: Problems) -> tuple[Rewritten, ...]:
    """Replace aliases in a parsed definition, in place.

    Anything that is not a definition is left as it is, for the reader to report.
    """
    rewritten: list[Rewritten] = []
    prefix = f"{field}." if field else ""
    #: Key -> branches of that step that have another name.
    branches: dict[str, dict[str, Branch]] = {}
    for index, step in enumerate(_objects(definition.get("steps"), STEPS_MAX)):
        where = f"{prefix}steps[{index}].config"
        kind, key, config = step.get("type"), step.get("key"), step.get("config")
        if not isinstance(kind, str) or not isinstance(config, dict):
            continue
        rewritten += _config(kind, config, where, problems)
        if isinstance(key, str):
            own = _own_branches(config)
            names = _BRANCHES.get(kind, {})  # type: ignore[call-overload]
            branches[key] = {alias: name for alias, name in names.items() if alias not in own}
    for index, connection in enumerate(_objects(definition.get("connections"), CONNECTIONS_MAX)):
        source, branch = connection.get("from"), connection.get("branch")
        if not isinstance(source, str) or not isinstance(branch, str):
            continue
        name = branches.get(source, {}).get(branch)
        if name is not None:
            connection["branch"] = name.value
            where = f"{prefix}connections[{index}].branch"
            rewritten.append(Rewritten(where, branch, name.value))
    return tuple(rewritten)


def _config(kind: str, config: dict[str, Any], where: str, problems: Problems) -> list[Rewritten]:
    rewritten: list[Rewritten] = []
    members = _MEMBERS.get(kind, {})  # type: ignore[call-overload]
    for alias, name in members.items():
        if alias in config and name not in config:
            config[name] = config.pop(alias)
            rewritten.append(Rewritten(f"{where}.{alias}", alias, name))
    timeout = config.get("timeout")
    if kind == StepType.WAIT_FOR_EVENT and type(timeout) is str and "timeout_seconds" not in config:
        del config["timeout"]
        try:
            config["timeout_seconds"] = Number(parse_duration(timeout))
            rewritten.append(Rewritten(f"{where}.timeout", "timeout", "timeout_seconds"))
        except ValueError as error:
            problems.add(Code.INVALID_VALUE, f"{where}.timeout", str(error))
    return rewritten


def _own_branches(config: dict[str, Any]) -> set[str]:
    """Branches with a name chosen by the author."""
    listed = (config.get("cases"), config.get("events"))
    return {
        each["branch"]
        for items in listed
        for each in _objects(items, STEPS_MAX)
        if isinstance(each.get("branch"), str)
    }


def _objects(value: Any, most: int) -> list[dict[str, Any]]:
    """The items of a list, non-objects as empty objects; nothing for a list that is too long."""
    if not isinstance(value, list) or len(value) > most:
        return []
    return [item if isinstance(item, dict) else {} for item in value]
