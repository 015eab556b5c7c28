"""Description of `/admin`."""

from __future__ import annotations

from typing import Any

from headrace.domain.errors import ErrorCode
from headrace.domain.policies import BOUNDS, DEFAULTS, NAMES, UNITS, IdempotencyConflict
from headrace.http.admin_policies import AuditShown, PolicyShown, ProjectShown
from headrace.http.openapi_parts import (
    BODY,
    answer,
    data,
    failures,
    json_body,
    listing,
    path_id,
    ref,
)

TYPES = (ProjectShown, PolicyShown, AuditShown)

_SECURITY: list[dict[str, list[str]]] = [{"operator": []}]
_READ = (ErrorCode.UNAUTHORIZED, ErrorCode.NOT_FOUND, ErrorCode.VALIDATION)


def refine(schemas: dict[str, Any]) -> None:
    """Add what the types cannot say."""
    schemas["AuditShown"]["properties"]["detail"] = {"type": "object"}
    schemas["PolicyValues"] = {
        "title": "PolicyValues",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _value(name) for name in NAMES},
    }


def _value(name: str) -> dict[str, Any]:
    default = getattr(DEFAULTS, name)
    note = {"description": f"In {UNITS[name]}; null resets to {default}."}
    if name in BOUNDS:
        low, high = BOUNDS[name]
        kind = "number" if isinstance(default, float) else "integer"
        return {"type": [kind, "null"], "minimum": low, "maximum": high, **note}
    if isinstance(default, bool):
        return {"type": ["boolean", "null"], "description": f"null resets to {default}."}
    return {"enum": [*(choice.value for choice in IdempotencyConflict), None]}


def paths() -> dict[str, Any]:
    """Paths by template."""
    policies = answer(
        "Every policy by its name.",
        data({"type": "object", "additionalProperties": ref("PolicyShown")}),
    )
    return {
        "/admin/projects": {
            "get": {
                "summary": "List all projects, by name",
                "operationId": "listProjects",
                "security": _SECURITY,
                "responses": {
                    "200": answer(
                        "All projects.",
                        data(
                            {"type": "array", "items": ref("ProjectShown")},
                            next_cursor={"type": "null"},
                        ),
                    ),
                    **failures(ErrorCode.UNAUTHORIZED, ErrorCode.VALIDATION),
                },
            }
        },
        "/admin/projects/{id}/policies": {
            "get": {
                "summary": "Get the policies of a project",
                "operationId": "getPolicies",
                "security": _SECURITY,
                "parameters": [path_id()],
                "responses": {"200": policies, **failures(*_READ)},
            },
            "patch": {
                "summary": "Change policies, all that are sent or none",
                "operationId": "patchPolicies",
                "security": _SECURITY,
                "parameters": [path_id()],
                "requestBody": json_body("PolicyValues"),
                "responses": {
                    "200": policies,
                    **failures(*_READ, *BODY, ErrorCode.STORAGE_UNAVAILABLE),
                },
            },
        },
        "/admin/projects/{id}/audit": {
            "get": {
                **listing("List changes of a project", "listAudit", "AuditShown", []),
                "security": _SECURITY,
                "parameters": [path_id(), *listing("", "", "AuditShown", [])["parameters"]],
                "responses": {
                    **listing("", "", "AuditShown", [])["responses"],
                    **failures(*_READ),
                },
            }
        },
    }
