"""Replaces names with ids, so that the meaning of a published version never changes."""

from __future__ import annotations

import json
from typing import Any

from headrace.domain.automations.definition.model import Reference
from headrace.domain.automations.definition.publish_checks import (
    membership_kind,
    membership_reference,
)
from headrace.domain.automations.definition.references import ID_MEMBER, References, Referred
from headrace.domain.automations.filters.paths import MEMBERSHIPS, Subject
from headrace.domain.automations.filters.values import json_of
from headrace.domain.json_text import Number


def resolve(text: str, references: References) -> str:
    """Replace every name in a canonical definition that passed the publish checks by its id.

    Args:
        text: canonical JSON, as `parsing.Document.text`.
        references: what exists in the project, the same that it was checked with.

    Returns:
        Canonical JSON of the version to publish. A name that is unknown stays as it is.
    """
    definition = json.loads(text, parse_int=Number, parse_float=Number)
    _filters(definition["trigger"], references)
    for rule in definition.get("exit_on") or ():
        _filters(rule, references)
    for step in definition["steps"]:
        config = step["config"]
        for kind in Referred:
            name = config.get(kind.value)
            found = references.find(kind, Reference(name=name)) if name else None
            if found is not None:
                del config[kind.value]
                config[ID_MEMBER[kind]] = found
        for holder in (config, *(config.get("cases") or ()), *(config.get("events") or ())):
            _filters(holder, references)
    return json_of(definition)


def _filters(holder: dict[str, Any], references: References) -> None:
    filters = holder.get("filters")
    if isinstance(filters, dict):
        _filter(filters, references)


def _filter(filters: dict[str, Any], references: References) -> None:
    """Replace names in a filter object and nested ones, which are at most five deep."""
    if "op" in filters and "field" in filters:
        filters["value"] = _membership(str(filters["field"]), filters.get("value"), references)
        return
    for name, value in filters.items():
        if name == "not":
            _filter(value, references)
        elif name in {"all", "any"}:
            for each in value:
                _filter(each, references)
        else:
            filters[name] = _membership(name, value, references)


def _membership(path: str, value: Any, references: References) -> Any:
    for subject in MEMBERSHIPS:
        if path.startswith(f"contact.{subject}"):
            if isinstance(value, list):
                return [_id(subject, item, references) for item in value]
            return _id(subject, value, references)
    return value


def _id(subject: Subject, value: Any, references: References) -> Any:
    return references.find(membership_kind(subject), membership_reference(str(value))) or value
