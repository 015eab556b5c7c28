"""JSON Schemas of the policies that concern messages, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

from headrace.domain.messages.kinds import Channel, MessageKind, SuppressionScope, UnknownOutcome
from headrace.domain.messages.policy_values import OPTIONAL_EVENTS, SENDING_POLICIES
from headrace.domain.messages.requests import DOMAIN_CHARACTERS_MAX
from headrace.domain.messages.send_times import WEEKDAYS
from headrace.domain.messages.sending_policies import (
    CAP_MESSAGES_MAX,
    CAP_SECONDS_MAX,
    CAPS_MAX,
    PAUSED_DOMAINS_MAX,
    WINDOWS_MAX,
    OnCap,
)

_CLOCK = {"type": "string", "examples": ["22:00"]}
_ZONE = {"type": "string", "examples": ["Europe/Vienna"]}
_CHANNELS = {"type": "array", "items": {"type": "string", "enum": list(Channel)}}
_KINDS = {"type": "array", "items": {"type": "string", "enum": list(MessageKind)}}


def _object(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required),
        "properties": properties,
    }


def _array(items: dict[str, Any], most: int) -> dict[str, Any]:
    return {"type": "array", "maxItems": most, "items": items}


def _one_of(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _count(low: int, high: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": low, "maximum": high}


_DOMAIN = {"type": "string", "maxLength": DOMAIN_CHARACTERS_MAX, "examples": ["example.org"]}
_DAY_LIMIT = _count(*(SENDING_POLICIES["send_limit_per_day"].bounds or (1, 1)))
_SHAPES: dict[str, list[dict[str, Any]]] = {
    "sending_paused": [
        _one_of("none", "all", "mail", "push"),
        _array(_DOMAIN, PAUSED_DOMAINS_MAX + len(Channel)),
    ],
    "send_limit_per_day": [_DAY_LIMIT, _object((), **dict.fromkeys(Channel, _DAY_LIMIT))],
    "frequency_caps": [
        _array(
            _object(
                ("channel", "max", "per_seconds"),
                channel=_one_of(*Channel),
                max=_count(1, CAP_MESSAGES_MAX),
                per_seconds=_count(1, CAP_SECONDS_MAX),
                kinds=_KINDS,
                topic_id={"type": "string", "format": "uuid"},
                on_cap=_one_of(*OnCap),
            ),
            CAPS_MAX,
        )
    ],
    "quiet_hours": [
        _object(
            ("start", "end"),
            start=_CLOCK,
            end=_CLOCK,
            timezone=_ZONE,
            channels=_CHANNELS,
            kinds=_KINDS,
        )
    ],
    "send_windows": [
        _array(
            _object(
                ("weekdays", "start", "end"),
                weekdays=_array(_one_of(*WEEKDAYS), len(WEEKDAYS)),
                start=_CLOCK,
                end=_CLOCK,
            ),
            WINDOWS_MAX,
        )
    ],
    "default_timezone": [_ZONE],
    "machine_engagement": [_one_of("record", "emit")],
    "complaint_scope": [_one_of(*SuppressionScope)],
    "unknown_outcome_marketing": [_one_of(*UnknownOutcome)],
    "unknown_outcome_transactional": [_one_of(*UnknownOutcome)],
    "topicless_marketing": [{"type": "boolean"}],
    "optional_events": [_array(_one_of(*OPTIONAL_EVENTS), len(OPTIONAL_EVENTS))],
}


def sending_policy_schema(name: str) -> dict[str, Any]:
    """What may be sent for a policy; null resets it."""
    policy = SENDING_POLICIES[name]
    shapes = _SHAPES.get(name) or [_count(*(policy.bounds or (0, 0)))]
    return {"anyOf": [*shapes, {"type": "null"}]}
