"""What descriptions of routes are put together from: answers, failures, lists, parameters."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import STATUS_OF, ErrorCode
from headrace.http.query import LIMIT_DEFAULT, LIMIT_MAX


def ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def data(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["data", *more],
        "properties": {"data": schema, **more},
    }


def answer(description: str, schema: dict[str, Any], media: str = "application/json") -> Any:
    return {"description": description, "content": {media: {"schema": schema}}}


def failures(*codes: ErrorCode) -> dict[str, Any]:
    """Answers of a route that fail, grouped by status."""
    always = (ErrorCode.MALFORMED_REQUEST, ErrorCode.REQUEST_TOO_LARGE, ErrorCode.OVERLOADED)
    by_status: dict[int, list[str]] = {}
    for code in (*always, *codes):
        by_status.setdefault(STATUS_OF[code], []).append(code.value)
    answers = {}
    for status, names in sorted(by_status.items()):
        failure = answer(", ".join(dict.fromkeys(names)), ref("ErrorBody"))
        if status in (429, 503):
            failure["headers"] = {
                "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            }
        answers[str(status)] = failure
    return answers


KEYED = (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN)
BODY = (
    ErrorCode.MALFORMED_JSON,
    ErrorCode.VALIDATION,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE,
)
LIST = (*KEYED, ErrorCode.VALIDATION)


def listing(summary: str, operation: str, item: str, parameters: list[Any]) -> dict[str, Any]:
    cursor = {"type": ["string", "null"]}
    return {
        "summary": summary,
        "operationId": operation,
        "parameters": [*parameters, *PAGE_PARAMETERS],
        "responses": {
            "200": answer(
                "Newest first. A page may hold fewer than asked for and still have a next one.",
                data({"type": "array", "items": ref(item)}, next_cursor=cursor),
            ),
            **failures(*LIST),
        },
    }


def path_id(name: str = "id") -> dict[str, Any]:
    """An id in the path; whatever is no UUID is not found."""
    schema = {"type": "string", "format": "uuid"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def json_body(item: str) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": ref(item)}}}


def parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema}


PAGE_PARAMETERS = [
    parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
    ),
    parameter("cursor", {"type": "string"}),
]
