"""Description of `/webhooks`."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import ErrorCode
from headrace.domain.labels import DESCRIPTION_CHARACTERS_MAX
from headrace.domain.subscriptions import PATTERNS_MAX
from headrace.http.openapi_parts import (
    BODY,
    KEYED,
    answer,
    data,
    failures,
    json_body,
    listing,
    path_id,
    ref,
)
from headrace.http.webhook_answers import (
    DeliveryShown,
    SecretShown,
    TestShown,
    WebhookCreated,
    WebhookInput,
    WebhookShown,
)

TYPES = (WebhookInput, WebhookShown, WebhookCreated, SecretShown, DeliveryShown, TestShown)

_ONE = (*KEYED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)
_WRITE = (*KEYED, *BODY, ErrorCode.STORAGE_UNAVAILABLE)
_NO_BODY = "Takes no body, or an object without members."


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["WebhookInput"] |= {
        "additionalProperties": False,
        "properties": {
            "url": {
                "type": ["string", "null"],
                "format": "uri",
                "maxLength": 2048,
                "description": "http or https, on a public address unless an operator allows it.",
            },
            "events": {
                "type": ["array", "null"],
                "minItems": 1,
                "maxItems": PATTERNS_MAX,
                "items": {
                    "type": "string",
                    "pattern": r"^(\*|[a-z0-9_]+(\.[a-z0-9_]+)*(\.\*)?)$",
                },
                "description": "Names, prefixes such as order.*, or * for all.",
            },
            "description": {"type": ["string", "null"], "maxLength": DESCRIPTION_CHARACTERS_MAX},
            "enabled": {"type": ["boolean", "null"]},
        },
    }


def paths() -> dict[str, Any]:
    """Paths by template."""
    return {
        "/webhooks": {
            "post": _create(),
            "get": listing("List webhooks", "listWebhooks", "WebhookShown", []),
        },
        "/webhooks/{id}": {"get": _get(), "patch": _patch(), "delete": _delete()},
        "/webhooks/{id}/test": {
            "post": _action(
                "Call the webhook now with a test event",
                "testWebhook",
                answer("The call was made; whether it succeeded.", data(ref("TestShown"))),
                ErrorCode.RATE_LIMITED,
            )
        },
        "/webhooks/{id}/rotate-secret": {
            "post": _action(
                "Replace the signing secret; both sign for 24 hours",
                "rotateWebhookSecret",
                answer("The new secret, shown this once.", data(ref("SecretShown"))),
                ErrorCode.STORAGE_UNAVAILABLE,
            )
        },
        "/webhooks/{id}/deliveries": {"get": _deliveries()},
    }


def _create() -> dict[str, Any]:
    body = json_body("WebhookInput")
    schema = {"allOf": [ref("WebhookInput"), {"required": ["url", "events"]}]}
    body["content"]["application/json"]["schema"] = schema
    return {
        "summary": "Create a webhook",
        "operationId": "createWebhook",
        "requestBody": body,
        "responses": {
            "201": answer("Created; `secret` is shown this once.", data(ref("WebhookCreated"))),
            **failures(*_WRITE, ErrorCode.CONFLICT),
        },
    }


def _get() -> dict[str, Any]:
    return {
        "summary": "Get a webhook",
        "operationId": "getWebhook",
        "parameters": [path_id()],
        "responses": {
            "200": answer("The webhook.", data(ref("WebhookShown"))),
            **failures(*_ONE),
        },
    }


def _patch() -> dict[str, Any]:
    return {
        "summary": "Change a webhook; enabled: true also ends a pause",
        "operationId": "patchWebhook",
        "parameters": [path_id()],
        "requestBody": json_body("WebhookInput"),
        "responses": {
            "200": answer("The webhook as it is now.", data(ref("WebhookShown"))),
            **failures(*_WRITE, ErrorCode.NOT_FOUND),
        },
    }


def _delete() -> dict[str, Any]:
    return {
        "summary": "Delete a webhook; what waits for it becomes dead letters",
        "operationId": "deleteWebhook",
        "parameters": [path_id()],
        "responses": {
            "204": {"description": "Gone."},
            **failures(*_ONE, ErrorCode.STORAGE_UNAVAILABLE),
        },
    }


def _action(summary: str, operation: str, answered: Any, *more: ErrorCode) -> dict[str, Any]:
    return {
        "summary": summary,
        "description": _NO_BODY,
        "operationId": operation,
        "parameters": [path_id()],
        "responses": {
            "200": answered,
            **failures(*_ONE, *BODY, *more),
        },
    }


def _deliveries() -> dict[str, Any]:
    described = listing("List deliveries of a webhook", "listDeliveries", "DeliveryShown", [])
    described["parameters"].insert(0, path_id())
    described["responses"] |= failures(*_ONE)
    return described
