"""The OpenAPI 3.1 document, made from the types that decode requests and encode answers.

What types cannot say (patterns, lengths, the rule that one identifier is needed) stands in
`_EVENT_RULES`, and a test sends events on both sides of each to the server.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headrace import __version__
from headrace.domain import event_fields
from headrace.domain.errors import ErrorCode
from headrace.domain.event_types import EventInput
from headrace.http import (
    openapi_admin,
    openapi_audiences,
    openapi_catalog,
    openapi_contact_batch,
    openapi_contacts,
    openapi_dead_letters,
    openapi_people,
    openapi_topics,
    openapi_webhooks,
)
from headrace.http.answers import Accepted, Deduplicated, Event, RejectionShown
from headrace.http.ingest_batch import EVENTS_MAX, BatchAnswer, BatchInput
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    answer,
    data,
    failures,
    listing,
    parameter,
    ref,
)
from headrace.http.query import EVENT_FILTERS, SOURCE_NAMES, STATUS_NAMES
from headrace.http.wire import ErrorBody

_TYPES = (
    EventInput,
    BatchInput,
    BatchAnswer,
    Accepted,
    Deduplicated,
    Event,
    RejectionShown,
    ErrorBody,
    *openapi_contacts.TYPES,
    *openapi_people.TYPES,
    *openapi_contact_batch.TYPES,
    *openapi_topics.TYPES,
    *openapi_audiences.TYPES,
    *openapi_catalog.TYPES,
    *openapi_dead_letters.TYPES,
    *openapi_admin.TYPES,
    *openapi_webhooks.TYPES,
)
_NULLABLE = ("contact_id", "external_id", "email", "payload", "occurred_at", "idempotency_key")

_EVENT_RULES: dict[str, dict[str, Any]] = {
    "event": {
        "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)*$",
        "maxLength": event_fields.EVENT_NAME_CHARACTERS_MAX,
        "not": {"pattern": r"^sendrealm(\.|$)"},
        "examples": ["order.completed"],
    },
    "contact_id": {"format": "uuid"},
    "external_id": {"minLength": 1, "maxLength": event_fields.EXTERNAL_ID_CHARACTERS_MAX},
    "email": {"format": "email", "maxLength": 254},
    "payload": {"type": ["object", "null"], "description": "Kept byte for byte."},
    "occurred_at": {"format": "date-time"},
    "idempotency_key": {
        "pattern": r"^[\x20-\x7e]+$",
        "minLength": 1,
        "maxLength": event_fields.IDEMPOTENCY_KEY_CHARACTERS_MAX,
    },
}


def openapi_document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": __version__,
            "description": "Customer events: accepted durably, once, and never lost.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"key": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "hr_<id>_<secret>"},
                "operator": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "hro_<id>_<secret>",
                },
            },
        },
    }


def _schemas() -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
    event = schemas["EventInput"]
    for name, rules in _EVENT_RULES.items():
        member = event["properties"][name]
        kind = {"type": ["string", "null"]} if name in _NULLABLE else {"type": "string"}
        event["properties"][name] = {**kind, **rules}
        del member
    event["anyOf"] = [
        {"required": [name], "properties": {name: {"type": "string"}}}
        for name in ("contact_id", "external_id", "email")
    ]
    schemas["BatchInput"]["properties"]["events"] = {
        "type": "array",
        "minItems": 1,
        "maxItems": EVENTS_MAX,
        "items": {
            "description": "An EventInput; whatever else it is, its item says what is wrong."
        },
    }
    one_of = [ref("Accepted"), ref("Deduplicated")]
    schemas["Item"]["properties"]["data"] = {"oneOf": one_of}
    schemas["Event"]["properties"]["payload"] = {"type": "object"}
    openapi_contacts.refine(schemas)
    openapi_contact_batch.refine(schemas)
    openapi_people.refine(schemas)
    openapi_topics.refine(schemas)
    openapi_audiences.refine(schemas)
    openapi_catalog.refine(schemas)
    openapi_dead_letters.refine(schemas)
    openapi_admin.refine(schemas)
    openapi_webhooks.refine(schemas)
    return schemas


_INGEST = (
    *KEYED,
    *BODY,
    ErrorCode.RESERVED_EVENT_NAME,
    ErrorCode.IDEMPOTENCY_KEY_REUSED,
    ErrorCode.PAYLOAD_TOO_LARGE,
    ErrorCode.RATE_LIMITED,
    ErrorCode.STORAGE_UNAVAILABLE,
)
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same as idempotency_key in the body; both and different is refused.",
    "schema": _EVENT_RULES["idempotency_key"] | {"type": "string"},
}


def _paths() -> dict[str, Any]:
    return {
        "/events": {
            "post": _single("Ingest one event", "ingestEvent"),
            "get": listing("List events", "listEvents", "Event", _event_parameters()),
        },
        "/events/batch": {"post": _batch()},
        "/events/validate": {"post": _single("Check an event without storing it", "validateEvent")},
        "/events/stream": {"get": _stream()},
        "/events/by-idempotency-key/{key}": {
            "get": _one("Get an event by its idempotency key", "getEventByKey", "key", {})
        },
        "/events/{id}": {"get": _one("Get an event", "getEvent", "id", {"format": "uuid"})},
        "/rejections": {
            "get": listing("List refused requests", "listRejections", "RejectionShown", [])
        },
        **openapi_contacts.paths(),
        **openapi_people.paths(),
        **openapi_contact_batch.paths(),
        **openapi_topics.paths(),
        **openapi_audiences.paths(),
        **openapi_catalog.paths(),
        **openapi_dead_letters.paths(),
        **openapi_admin.paths(),
        **openapi_webhooks.paths(),
        **_public_paths(),
    }


def _single(summary: str, operation: str) -> dict[str, Any]:
    repeat = answer("The key was used before; the first event.", data(ref("Deduplicated")))
    repeat["headers"] = {
        "Idempotency-Mismatch": {
            "description": "true when the content differs from the first.",
            "schema": {"const": "true"},
        }
    }
    return {
        "summary": summary,
        "operationId": operation,
        "parameters": [_KEY_HEADER],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ref("EventInput")}},
        },
        "responses": {
            "202": answer("New, and on stable storage.", data(ref("Accepted"))),
            "200": repeat,
            **failures(*_INGEST),
        },
    }


def _batch() -> dict[str, Any]:
    return {
        "summary": f"Ingest up to {EVENTS_MAX} events",
        "operationId": "ingestBatch",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("BatchInput")},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        "responses": {
            "200": answer("One answer per event, in the order sent.", ref("BatchAnswer")),
            **failures(*_INGEST),
        },
    }


def _event_parameters() -> list[dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {
        **{name: {"type": "string", **rules} for name, rules in _EVENT_RULES.items()},
        # Events of the system may not be sent; they are found as all others are.
        "event": {
            "type": "string",
            **{key: rule for key, rule in _EVENT_RULES["event"].items() if key != "not"},
        },
        "status": {"enum": list(STATUS_NAMES)},
        "source": {"enum": list(SOURCE_NAMES)},
    }
    found = [
        parameter(name, known.get(name, {"type": "string", "format": "date-time"}))
        for name in EVENT_FILTERS
    ]
    for each in found:
        if each["name"] == "contact_id":
            each["description"] = (
                "Events that were resolved to this contact or to one that was merged into it, "
                "whatever they were sent with. What was sent with the id and is resolved to "
                "nobody, or not yet, is among them."
            )
    return found


def _one(summary: str, operation: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "summary": summary,
        "operationId": operation,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}
        ],
        "responses": {
            "200": answer("The event.", data(ref("Event"))),
            **failures(*KEYED, ErrorCode.NOT_FOUND),
        },
    }


def _stream() -> dict[str, Any]:
    return {
        "summary": "Watch events as they are accepted",
        "operationId": "streamEvents",
        "responses": {
            "200": answer(
                "Server-sent events: `event` with an event as data, `missed` with a count when "
                "the reader was too slow, `end` with a reason as the last one when the server ends "
                "the stream. Ended within 5 s once the key may no longer read.",
                {"type": "string"},
                "text/event-stream",
            ),
            **failures(*KEYED, ErrorCode.RATE_LIMITED),
        },
    }


def _public_paths() -> dict[str, Any]:
    def public(summary: str, operation: str, media: str, *, may_fail: bool = False) -> Any:
        answers = {"200": answer(summary, {}, media)}
        if may_fail:
            answers["503"] = answer("Not ready; says why.", {})
        answers |= {k: v for k, v in failures().items() if k not in answers}
        return {
            "get": {
                "summary": summary,
                "operationId": operation,
                "security": [],
                "responses": answers,
            }
        }

    return {
        "/healthz": public("Whether the process answers", "healthz", "application/json"),
        "/readyz": public(
            "Whether events are accepted now", "readyz", "application/json", may_fail=True
        ),
        "/metrics": public("Prometheus metrics", "metrics", "text/plain"),
        "/openapi.json": public("This document", "openapi", "application/json"),
        "/docs": public("This document as a page", "docs", "text/html"),
    }
