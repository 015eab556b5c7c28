"""The difference between two versions of an automation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from headrace.domain.automations.filters.values import json_of
from headrace.domain.json_text import Number

Kind = Literal["added", "removed", "changed"]
_ABSENT = object()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One place of the definition that differs."""

    #: `trigger.filters`, `steps.mail.config.topic_id`, `connections.mail.next`, `exit_on[0]`.
    place: str
    kind: Kind
    #: JSON text; None when it is absent there.
    before: str | None
    after: str | None


def difference(before: str, after: str) -> list[Difference]:
    """Places that differ, in the order of the definitions.

    Steps are compared by key, and connections by source and branch, so their order does not count.

    Args:
        before: JSON of a published definition, as `after`.
    """
    found: list[Difference] = []
    _compare(found, "", _by_key(_read(before)), _by_key(_read(after)))
    return found


def _read(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text, parse_int=Number, parse_float=Number)
    return read


def _by_key(definition: Mapping[str, Any]) -> dict[str, Any]:
    steps = {each["key"]: each for each in definition.get("steps", ())}
    connections: dict[str, dict[str, str]] = {}
    for each in definition.get("connections", ()):
        connections.setdefault(each["from"], {})[each.get("branch", "next")] = each["to"]
    exits = {f"[{number}]": each for number, each in enumerate(definition.get("exit_on") or ())}
    return {
        "trigger": definition.get("trigger", {}),
        "steps": steps,
        "connections": connections,
        "exit_on": exits,
    }


def _compare(found: list[Difference], place: str, before: Any, after: Any) -> None:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys((*before, *after)):
            joined = f"{place}{name}" if name.startswith("[") else f"{place}.{name}".lstrip(".")
            _compare(found, joined, before.get(name, _ABSENT), after.get(name, _ABSENT))
        return
    if before is _ABSENT:
        found.append(Difference(place=place, kind="added", before=None, after=json_of(after)))
    elif after is _ABSENT:
        found.append(Difference(place=place, kind="removed", before=json_of(before), after=None))
    elif json_of(before) != json_of(after):
        texts = {"before": json_of(before), "after": json_of(after)}
        found.append(Difference(place=place, kind="changed", **texts))
