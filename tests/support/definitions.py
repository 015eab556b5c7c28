"""Definitions of automations for tests, as JSON and parsed."""

from __future__ import annotations

import json
from typing import Any

from headrace.domain.automations.definition.model import Definition
from headrace.domain.automations.definition.parsing import Document, parse_document
from headrace.domain.automations.definition.publish_checks import (
    PublishRules,
    Report,
    check_for_publish,
)
from headrace.domain.automations.definition.references import References
from headrace.domain.automations.problems import Problem

AN_ID = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
ANOTHER_ID = "0d5a1f7e-51d5-4c0e-8a0e-2f6f0f4c9a77"

#: A valid config for each type of step.
CONFIGS: dict[str, dict[str, Any]] = {
    "delay": {"seconds": 60},
    "condition": {"filters": {"contact.email_exists": True}},
    "wait_for_event": {"event_name": "order.completed", "timeout_seconds": 3600},
    "send_email_template": {
        "template_version_id": AN_ID,
        "domain_id": AN_ID,
        "topic_id": AN_ID,
    },
    "send_push_template": {"template_version_id": AN_ID, "app_id": "shop"},
    "contact_update": {"set": {"properties.plan": "pro"}},
    "add_to_audience": {"audience_id": AN_ID},
    "remove_from_audience": {"audience_id": AN_ID},
    "set_topic_subscription": {"topic_id": AN_ID, "is_subscribed": True},
    "emit_event": {"event_name": "lead.scored", "payload": {"score": 7}},
}


def step(key: str, kind: str, /, **config: Any) -> dict[str, Any]:
    """A step; without config it gets a valid one for its type."""
    return {"key": key, "type": kind, "config": config or CONFIGS[kind]}


def chain(*steps: dict[str, Any], branches: tuple[str, ...] = (), **others: Any) -> dict[str, Any]:
    """A definition in which a branch (`next`) connects each step to the one after it."""
    keys = ["trigger", *(each["key"] for each in steps)]
    named = (*branches, *["next"] * len(keys))
    connections = [
        {"from": source, "to": target, "branch": branch}
        for source, target, branch in zip(keys, keys[1:], named, strict=False)
    ]
    made: dict[str, Any] = {
        "trigger": {"event_name": "checkout.started"},
        "steps": list(steps),
        "connections": connections,
    }
    return made | others


def read(value: dict[str, Any]) -> Document:
    return parse_document(json.dumps(value).encode())


def definition_of(value: dict[str, Any]) -> Definition:
    """A parsed definition that must be valid."""
    report = report_on(value)
    assert not report.problems
    definition = read(value).definition
    assert definition is not None
    return definition


def report_on(
    value: dict[str, Any],
    references: References | None = None,
    rules: PublishRules | None = None,
) -> Report:
    document = read(value)
    if document.definition is None:
        return Report(tuple(document.problems.found), ())
    return check_for_publish(
        document.definition, document.field, document.problems, references=references, rules=rules
    )


def places(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    """Code and path of each problem."""
    return [(each.code.value, each.field) for each in problems]
