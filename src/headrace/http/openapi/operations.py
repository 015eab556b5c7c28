"""Operations of the document: parameters, bodies and responses of a method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.domain.errors import STATUS_OF, ErrorCode
from headrace.http.openapi.examples import example_of
from headrace.http.openapi.schemas import Schemas
from headrace.http.routing.route import JSON, Parameter, ResponseSpec, Route, Who, errors_of
from headrace.http.server.wire import ErrorBody

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "Identifies this request in the server logs.",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "Seconds to wait before retrying.",
        "schema": {"type": "integer", "minimum": 1},
    },
    "Idempotency-Mismatch": {
        "description": "`true` when the content differs from that of the first event.",
        "schema": {"type": "string", "const": "true"},
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "schema": {"type": "string"},
    },
}
_UUID: dict[str, Any] = {
    "type": "string",
    "format": "uuid",
    "examples": ["0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"],
}


def operation(routes: Sequence[Route], schemas: Schemas) -> dict[str, Any]:
    """The operation of routes that share method and path."""
    first = routes[0]
    described: dict[str, Any] = {
        "operationId": first.name,
        "summary": first.summary,
        "description": " ".join(filter(None, (first.description, _access(first)))),
        "tags": [first.tag],
        "security": _security(routes),
    }
    parameters = _parameters(first)
    if parameters:
        described["parameters"] = parameters
    bodies = [body for route in routes for body in route.bodies]
    if bodies:
        described["requestBody"] = {
            "required": all(body.required for body in bodies),
            "content": {
                body.media: {"schema": schemas.of(body.schema)}
                | ({} if body.example is None else {"example": body.example})
                for body in bodies
            },
        }
    described["responses"] = _responses(routes, schemas)
    return described


def _access(route: Route) -> str:
    if route.access.who is Who.ANYBODY:
        return "Needs no key."
    if route.access.who is Who.OPERATOR:
        return "Needs the token of an operator."
    scope = route.access.scope
    return "" if scope is None else f"Needs the scope `{scope.value}`."


def _security(routes: Sequence[Route]) -> list[dict[str, list[str]]]:
    """Ways to authenticate. One that OpenAPI cannot express is `{}`: none of the others."""
    ways: dict[str, None] = {}
    for route in routes:
        if route.access.who is Who.OPERATOR:
            ways["operator"] = None
        else:
            ways |= dict.fromkeys(each.name for each in route.access.credentials)
    return [{way: []} if way else {} for way in sorted(ways, key=lambda way: not way)]


def _parameters(route: Route) -> list[dict[str, Any]]:
    declared = {each.name: each for each in route.parameters if each.location == "path"}
    described = []
    for name in route.path_parameters:
        parameter = declared.get(name)
        schema = _UUID if parameter is None else parameter.schema
        described.append({"name": name, "in": "path", "required": True, "schema": schema})
    described += [_parameter(each) for each in route.parameters if each.location != "path"]
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {"name": parameter.name, "in": parameter.location}
    if parameter.description:
        described["description"] = parameter.description
    if not parameter.is_prefix:
        return described | {"schema": parameter.schema}
    # OpenAPI cannot express a family; an object whose members are parameters comes closest.
    pattern = "^" + parameter.name.replace(".", r"\.") + "."
    return described | {
        "name": parameter.name.rstrip("."),
        "style": "form",
        "explode": True,
        "schema": {
            "type": "object",
            "maxProperties": parameter.count_max,
            "patternProperties": {pattern: parameter.schema},
            "additionalProperties": False,
        },
    }


def _responses(routes: Sequence[Route], schemas: Schemas) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for response in (each for route in routes for each in route.responses):
        responses[str(response.status)] = _response(response, schemas)
    codes = dict.fromkeys(code for route in routes for code in errors_of(route))
    by_status: dict[int, list[ErrorCode]] = {}
    shape = routes[0].error_shape
    for code in codes:
        status = STATUS_OF[code] if shape is None else shape.status_of(code)
        by_status.setdefault(status, []).append(code)
    for status, named in sorted(by_status.items()):
        if str(status) not in responses:
            schema = ErrorBody if shape is None else shape.schema
            responses[str(status)] = _failure(status, named, schemas.of(schema))
    return responses


def _response(response: ResponseSpec, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "description": response.description,
        "headers": _headers("X-Request-Id", *response.headers),
    }
    if response.schema is not None:
        schema = _wrapped(response, schemas.of(response.schema))
        content: dict[str, Any] = {"schema": schema}
        if response.media == JSON and response.wrap != "none":
            content["example"] = example_of(schema, schemas.components)
        # Not in the example, since they are rarely there.
        for name, type_ in response.beside.items():
            schema["properties"][name] = schemas.of(type_)
        described["content"] = {response.media: content}
    return described


def _wrapped(response: ResponseSpec, schema: dict[str, Any]) -> dict[str, Any]:
    match response.wrap:
        case "data":
            return _object(data=schema)
        case "page":
            cursor = {"type": ["string", "null"], "description": "Null on the last page."}
            return _object(data={"type": "array", "items": schema}, next_cursor=cursor)
    return schema


def _object(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(members), "properties": members}


def _failure(status: int, codes: Sequence[ErrorCode], schema: dict[str, Any]) -> dict[str, Any]:
    headers = ["X-Request-Id"]
    if status in (429, 503):
        headers.append("Retry-After")
    if status == 401:
        headers.append("WWW-Authenticate")
    return {
        "description": ", ".join(code.value for code in codes),
        "headers": _headers(*headers),
        "content": {JSON: {"schema": schema}},
    }


def _headers(*names: str) -> Mapping[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
