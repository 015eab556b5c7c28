"""`/admin`: routes for operators, not for API keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.operators import Operator
from headrace.domain.access.policies import BOUNDS, DEFAULTS, UNITS
from headrace.domain.contacts.properties import read_number
from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.events.problems import read_object
from headrace.domain.ids import uuid_text
from headrace.domain.json_fields import FieldReader
from headrace.domain.json_text import Number
from headrace.domain.messages.email_request import plain_json
from headrace.domain.messages.policy_values import DEPTH_MAX, SENDING_POLICIES
from headrace.domain.timestamps import to_text
from headrace.http.access.policy_schemas import sending_policy_schema
from headrace.http.routing.context import Services, context_of, json_response
from headrace.http.routing.media import read_body
from headrace.http.routing.parameters import PAGE
from headrace.http.routing.path import read_uuid
from headrace.http.routing.route import OPERATOR, get, json_body, ok, page, patch
from headrace.http.routing.schema import Id, Time, about
from headrace.pipeline.access.policies import (
    POLICY_NAMES,
    checked_value,
    policy_facts,
)

#: Generators of clients need to know what an array holds: anything.
_ANY_JSON: dict[str, Any] = {
    "type": ["integer", "number", "string", "boolean", "array", "object", "null"],
    "items": {},
}


class ProjectResponse(msgspec.Struct, kw_only=True):
    """A project as operators see it."""

    id: Id
    name: str
    created_at: Time


class PolicyResponse(msgspec.Struct, kw_only=True):
    """One policy; bounds are inclusive and null where there are none."""

    value: Annotated[Any, about("Arrays and objects are policies of messages.", **_ANY_JSON)]
    default: Annotated[Any, about(**_ANY_JSON)]
    unit: str
    minimum: int | float | None
    maximum: int | float | None


class AuditEntryResponse(msgspec.Struct, kw_only=True):
    """Who changed what, and when."""

    id: str
    at: Time
    actor: str
    action: str
    detail: Annotated[
        msgspec.Raw,
        about(
            "Facts that depend on the action; a changed policy has `policy`, `from` and `to`.",
            type="object",
            additionalProperties=True,
        ),
    ]


def _operator(request: Request) -> Operator:
    operator: Operator = request.scope["state"]["principal"]
    return operator


async def _project(services: Services, request: Request) -> int:
    found = await services.store.operators.policies(read_uuid(request.path_params["id"]))
    if found is None:
        raise ApiError(ErrorCode.NOT_FOUND, "Project not found.")
    return found[0]


async def list_projects(request: Request) -> Response:
    """`GET /admin/projects`: all of them, by name."""
    services = context_of(request).services
    projects = await services.store.projects.list()
    shown = [
        ProjectResponse(id=uuid_text(p.uuid), name=p.name, created_at=to_text(p.created_us))
        for p in projects
    ]
    return json_response({"data": shown, "next_cursor": None})


async def get_policies(request: Request) -> Response:
    """`GET /admin/projects/{id}/policies`."""
    services = context_of(request).services
    project_id = await _project(services, request)
    return json_response({"data": await policy_responses(services, project_id)})


async def patch_policies(request: Request) -> Response:
    """`PATCH /admin/projects/{id}/policies`: all or nothing; null resets a policy."""
    services, operator = context_of(request).services, _operator(request)
    project_id = await _project(services, request)
    values = checked_policies(await read_body(request))
    if values:
        await services.store.operators.set_policies(
            project_id, values, services.clock_us(), actor=operator.actor
        )
    return json_response({"data": await policy_responses(services, project_id)})


async def list_audit(request: Request) -> Response:
    """`GET /admin/projects/{id}/audit`: newest first."""
    context = context_of(request)
    services, limit = context.services, context.limit
    project_id = await _project(services, request)
    scope = f"audit {project_id}"
    before = context.before(scope)
    found = await services.store.operators.audit(project_id, before=before, limit=limit + 1)
    more = len(found) > limit
    following = services.cursors.make(found[limit - 1].id, scope) if more else None
    shown = [
        AuditEntryResponse(
            id=str(entry.id),
            at=to_text(entry.at_us),
            actor=entry.actor,
            action=entry.action,
            detail=msgspec.Raw(entry.detail.encode()),
        )
        for entry in found[:limit]
    ]
    return json_response({"data": shown, "next_cursor": following})


async def policy_responses(services: Services, project_id: int) -> dict[str, PolicyResponse]:
    """All policies by name."""
    values = await services.store.projects.policy_values(project_id)
    shown = {}
    for name in POLICY_NAMES:
        facts = policy_facts(name)
        low, high = facts.bounds or (None, None)
        shown[name] = PolicyResponse(
            value=values[name],
            default=facts.default,
            unit=facts.unit,
            minimum=low,
            maximum=high,
        )
    return shown


def checked_policies(body: bytes) -> dict[str, Any]:
    """Values to set by name; None resets.

    Raises:
        ApiError: with every problem listed.
    """
    check = FieldReader(read_object(body), POLICY_NAMES, "the policies")
    values: dict[str, Any] = {}
    for name in POLICY_NAMES:
        if name not in check.members:
            continue
        sent = check.members[name]
        try:
            values[name] = None if sent is None else checked_value(name, _typed(name, sent))
        except ValueError as error:
            check.add(name, str(error))
    check.raise_if_any()
    return values


def _typed(name: str, sent: Any) -> Any:
    """A parsed value in the policy's type; other types are rejected.

    Raises:
        ValueError: with a sentence for the caller.
    """
    if name in SENDING_POLICIES and not isinstance(sent, Number):
        return plain_json(sent, DEPTH_MAX)
    if isinstance(sent, Number):
        try:
            number = read_number(sent)
        except ValueError:
            return ()
        # In JSON `7.0` is a whole number.
        return int(number) if number == int(number) else number
    # The command line accepts numbers as text; here `"5"` is not a number.
    return () if isinstance(sent, str) and not isinstance(getattr(DEFAULTS, name), str) else sent


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _policy_schema(name: str) -> dict[str, Any]:
    if name in SENDING_POLICIES:
        facts = policy_facts(name)
        text = f"In {facts.unit}; null resets to {_json(facts.default)}."
        return {**sending_policy_schema(name), "description": text}
    default = getattr(DEFAULTS, name)
    reset = "removes the limit" if default is None else f"resets to {_json(default)}"
    note = {"description": f"In {UNITS[name]}; null {reset}."}
    if name in BOUNDS:
        low, high = BOUNDS[name]
        kind = "number" if isinstance(default, float) else "integer"
        return {"type": [kind, "null"], "minimum": low, "maximum": high, **note}
    if isinstance(default, bool):
        return {"type": ["boolean", "null"], "description": f"null {reset}."}
    if isinstance(default, StrEnum):
        return {"type": ["string", "null"], "enum": [*type(default), None], **note}
    return {"type": ["string", "null"], **note}


_POLICY_VALUES = {
    "title": "PolicyValues",
    "type": "object",
    "additionalProperties": False,
    "properties": {name: _policy_schema(name) for name in POLICY_NAMES},
}
_POLICIES = ok("Every policy by its name.", dict[str, PolicyResponse])

ROUTES = (
    get(
        "/admin/projects",
        list_projects,
        OPERATOR,
        name="listProjects",
        summary="List all projects",
        responses=(page(ProjectResponse, "All projects, by name."),),
    ),
    get(
        "/admin/projects/{id}/policies",
        get_policies,
        OPERATOR,
        name="getPolicies",
        summary="Get the policies of a project",
        responses=(_POLICIES,),
    ),
    patch(
        "/admin/projects/{id}/policies",
        patch_policies,
        OPERATOR,
        name="patchPolicies",
        summary="Change policies of a project",
        description="Changes all policies sent, or none of them; null resets a policy.",
        bodies=json_body(_POLICY_VALUES, example={"event_retention_days": 30}),
        responses=(_POLICIES,),
    ),
    get(
        "/admin/projects/{id}/audit",
        list_audit,
        OPERATOR,
        name="listAudit",
        summary="List changes of a project",
        parameters=PAGE,
        responses=(page(AuditEntryResponse),),
    ),
)
