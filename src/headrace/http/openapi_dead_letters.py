"""Description of `/dead-letters`, `/replays` and the trace of an event."""

from __future__ import annotations

from typing import Any

from headrace.domain.dead_letters import (
    CAUSE_CHARACTERS_MAX,
    CAUSE_PATTERN,
    KINDS,
    PER_SECOND_DEFAULT,
    PER_SECOND_MAX,
    REASON_CHARACTERS_MAX,
)
from headrace.domain.errors import ErrorCode
from headrace.domain.event_fields import EVENT_NAME_CHARACTERS_MAX
from headrace.http.dead_letters import DeadLetterGroupShown, DeadLetterShown, DiscardInput
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    answer,
    data,
    failures,
    json_body,
    listing,
    parameter,
    path_id,
    ref,
)
from headrace.http.replays import DryRun, ReplayInput, ReplayShown
from headrace.http.trace import TraceShown
from headrace.store.contract_dead_letters import RUNNING_MAX, SAMPLE_MAX

TYPES = (
    DeadLetterShown,
    DeadLetterGroupShown,
    DiscardInput,
    DryRun,
    ReplayInput,
    ReplayShown,
    TraceShown,
)

_FILTERS: dict[str, dict[str, Any]] = {
    "event": {
        "type": "string",
        "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$",
        "maxLength": EVENT_NAME_CHARACTERS_MAX,
    },
    "subscriber_id": {"type": "string", "format": "uuid"},
    "cause": {
        "type": "string",
        "pattern": f"^{CAUSE_PATTERN}$",
        "maxLength": CAUSE_CHARACTERS_MAX,
    },
    "kind": {"type": "string", "enum": list(KINDS)},
}
_PRINTED = r"[^\x00-\x1f\x7f-\x9f]"
_READ = (*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)
_WRITE = (*KEYED, *BODY, ErrorCode.CONFLICT, ErrorCode.STORAGE_UNAVAILABLE)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["DiscardInput"] |= {"additionalProperties": False}
    schemas["DiscardInput"]["properties"]["reason"] |= {
        "minLength": 1,
        "maxLength": REASON_CHARACTERS_MAX,
        "pattern": f"^{_PRINTED}*[^\\s\\x00-\\x1f\\x7f-\\x9f]{_PRINTED}*$",
    }
    schemas["ReplayFilter"]["properties"] = {
        name: {**rule, "type": ["string", "null"]}
        if "enum" not in rule
        else {"enum": [*rule["enum"], None]}
        for name, rule in _FILTERS.items()
    }
    schemas["ReplayInput"]["properties"]["per_second"] = {
        "type": ["integer", "null"],
        "minimum": 1,
        "maximum": PER_SECOND_MAX,
        "default": PER_SECOND_DEFAULT,
    }
    schemas["DryRun"]["properties"]["sample"] |= {"maxItems": SAMPLE_MAX}


def paths() -> dict[str, Any]:
    """Paths by template."""
    filters = [parameter(name, rule) for name, rule in _FILTERS.items()]
    return {
        "/events/{id}/trace": {
            "get": {
                "summary": "Get everything that happened to an event, in order, with reasons",
                "operationId": "getTrace",
                "parameters": [path_id()],
                "responses": {
                    "200": answer("The event and its life so far.", data(ref("TraceShown"))),
                    **failures(*_READ),
                },
            }
        },
        "/dead-letters": {
            "get": listing("List open dead letters", "listDeadLetters", "DeadLetterShown", filters)
        },
        "/dead-letters/groups": {"get": _groups(filters)},
        "/dead-letters/{id}/replay": {"post": _replay_one()},
        "/dead-letters/{id}/discard": {"post": _discard_one()},
        "/dead-letters/replay": {"post": _replay_many()},
        "/replays": {"get": listing("List replays", "listReplays", "ReplayShown", [])},
        "/replays/{id}": {
            "get": {
                "summary": "Get a replay of many",
                "operationId": "getReplay",
                "parameters": [path_id()],
                "responses": {
                    "200": answer("The replay.", data(ref("ReplayShown"))),
                    **failures(*_READ),
                },
            }
        },
        "/replays/{id}/stop": {"post": _stop()},
    }


def _groups(filters: list[Any]) -> dict[str, Any]:
    described = listing(
        "Count open dead letters that failed alike",
        "listDeadLetterGroups",
        "DeadLetterGroupShown",
        filters,
    )
    described["responses"]["200"]["description"] = "The most frequent first."
    return described


def _without_members() -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def _replay_one() -> dict[str, Any]:
    return {
        "summary": "Run again what failed",
        "description": "The same event or the same delivery, its attempts counted anew.",
        "operationId": "replayDeadLetter",
        "parameters": [path_id()],
        "requestBody": _without_members(),
        "responses": {
            "200": answer("It is in line again.", data(ref("DeadLetterShown"))),
            **failures(*_WRITE, ErrorCode.NOT_FOUND),
        },
    }


def _discard_one() -> dict[str, Any]:
    return {
        "summary": "Close a dead letter for good; what failed stays as it is",
        "operationId": "discardDeadLetter",
        "parameters": [path_id()],
        "requestBody": json_body("DiscardInput"),
        "responses": {
            "200": answer("It is discarded.", data(ref("DeadLetterShown"))),
            **failures(*_WRITE, ErrorCode.NOT_FOUND),
        },
    }


def _replay_many() -> dict[str, Any]:
    return {
        "summary": "Replay every dead letter that matches, or see what that would be",
        "description": f"At most {RUNNING_MAX} replays of a project run at once.",
        "operationId": "replayDeadLetters",
        "requestBody": json_body("ReplayInput"),
        "responses": {
            "200": answer("With dry_run: what it would do.", data(ref("DryRun"))),
            "202": answer("A job that goes on by itself.", data(ref("ReplayShown"))),
            **failures(*_WRITE),
        },
    }


def _stop() -> dict[str, Any]:
    return {
        "summary": "Stop a replay; what it has replayed stays replayed",
        "operationId": "stopReplay",
        "parameters": [path_id()],
        "requestBody": _without_members(),
        "responses": {
            "200": answer("It is stopped.", data(ref("ReplayShown"))),
            **failures(*_WRITE, ErrorCode.NOT_FOUND),
        },
    }
