"""Example values of schemas, so that every response in the document has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Limit of nesting; a recursive type would never end.
_DEPTH_MAX = 8
_REF = "#/components/schemas/"
#: Texts without a format in their type, by field name.
_BY_NAME = {
    "action": "policy.changed",
    "actor": "key 8f3a61d09c2b7e45",
    "api_key": "8f3a61d09c2b7e45",
    "cause": "http_status",
    "code": "ValidationError",
    "email": "mike@example.com",
    "error": "The endpoint responded with 500.",
    "external_id": "user_42",
    "field": "email",
    "idempotency_key": "order-A-1001",
    "merged_by": "key 8f3a61d09c2b7e45",
    "message": "email: must be an address such as mike@example.com",
    "name": "News",
    "path": "total",
    "personal_data": "email",
    "request_id": "1f0c9a7be20000002a",
    "requested_by": "8f3a61d09c2b7e45",
    "resolved_identity_value": "user_42",
    "route": "POST /events",
    "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "sources": "api",
    "text": "A contact was created.",
    "topic_name": "News",
    "audience_name": "Beta testers",
    "type": "number",
    "types": "number",
    "unit": "days",
    "url": "https://example.com/headrace",
    "value": "mike@example.com",
    "events": "order.*",
}
_PLAIN: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1.5, "null": None}


def example_of(
    schema: Mapping[str, Any], components: Mapping[str, Any], name: str = "", depth: int = 0
) -> Any:
    """A value that the schema allows, with the required members of its objects.

    Args:
        name: of the member that the value is for.
    """
    if "$ref" in schema:
        return example_of(components[schema["$ref"].removeprefix(_REF)], components, name, depth)
    for word in ("const", "default"):
        if word in schema:
            return schema[word]
    for word in ("examples", "enum"):
        if word in schema:
            return schema[word][0]
    if choices := schema.get("oneOf") or schema.get("anyOf"):
        return example_of(choices[0], components, name, depth)
    return _of_kind(schema, components, name, depth)


def _of_kind(
    schema: Mapping[str, Any], components: Mapping[str, Any], name: str, depth: int
) -> Any:
    kinds = schema.get("type", "object")
    kind = kinds if isinstance(kinds, str) else kinds[0]
    match kind:
        case "object":
            return _object(schema, components, depth)
        case "array":
            return [example_of(schema.get("items", {}), components, name, depth + 1)]
        case "string":
            return _BY_NAME.get(name, None if "null" in kinds else "…")
    return schema.get("minimum", _PLAIN[kind])


def _object(schema: Mapping[str, Any], components: Mapping[str, Any], depth: int) -> dict[str, Any]:
    if depth > _DEPTH_MAX:
        return {}
    members = schema.get("properties", {})
    return {
        name: example_of(members[name], components, name, depth + 1)
        for name in schema.get("required") or members
    }
