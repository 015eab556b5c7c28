"""JSON Schemas of the types of requests and responses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.http.ingest.event_input import EVENT_INPUT_RULES
from headrace.http.routing.route import Route
from headrace.http.server.wire import ErrorBody

_REF = "#/components/schemas/"
#: Rules about several members of a type at once.
_RULES = {"EventInput": EVENT_INPUT_RULES}

#: Types of lower layers without formats; the field names imply them.
_WITHOUT_FORMATS = {
    *("TraceEntry", "ContactExplanation", "StartExplanation", "RunExplanation", "MailExplanation"),
}
_ID: dict[str, Any] = {"format": "uuid", "examples": ["0197a3f0-6b2e-7c41-9f0a-1d2c3b4a5f60"]}
_TIME: dict[str, Any] = {"format": "date-time", "examples": ["2026-06-08T14:15:00.000Z"]}


class Schemas:
    """The schema of every type that the routes name; each is described once.

    Args:
        more: types beside those of the routes.
    """

    def __init__(self, routes: Iterable[Route], more: Iterable[Any] = ()) -> None:
        types: dict[str, Any] = {repr(ErrorBody): ErrorBody}
        for route in routes:
            declared = [body.schema for body in route.bodies]
            declared += [response.schema for response in route.responses]
            declared += [] if route.error_shape is None else [route.error_shape.schema]
            declared += [each for response in route.responses for each in response.beside.values()]
            types |= {
                repr(each): each
                for one in declared
                for each in (one if isinstance(one, tuple) else (one,))
                if each is not None and not isinstance(each, dict)
            }
        types |= {repr(each): each for each in more}
        schemas, components = msgspec.json.schema_components(
            types.values(), ref_template=_REF + "{name}"
        )
        self._by_type: dict[str, dict[str, Any]] = {
            name: _tidied(schema) for name, schema in zip(types, schemas, strict=True)
        }
        self.components: dict[str, Any] = {
            public_name(name): _tidied(schema) | _RULES.get(name, {})
            for name, schema in sorted(components.items())
        }
        for name in _WITHOUT_FORMATS & self.components.keys():
            _set_formats(self.components[name]["properties"])

    def of(self, schema: Any) -> dict[str, Any]:
        """The schema of a type, of one of several types, or the schema that is given."""
        if isinstance(schema, tuple):
            return {"oneOf": [self.of(each) for each in schema]}
        if not isinstance(schema, dict):
            return self._by_type[repr(schema)]
        title = schema.get("title")
        if title is None:
            return schema
        self.components[title] = schema
        return {"$ref": _REF + title}


def _set_formats(members: dict[str, dict[str, Any]]) -> None:
    for name, schema in members.items():
        if name in ("at", "since") or name.endswith("_at"):
            schema.update(_TIME)
        elif name.endswith("_id") and name != "request_id":
            schema.update(_ID)


def public_name(name: str) -> str:
    """Name of a type in the document: `Topic` for `TopicResponse`."""
    return name.removesuffix("Response")


def _tidied(schema: Any) -> Any:
    """Adjust msgspec's schema of a type to what client generators expect."""
    if isinstance(schema, list):
        return [_tidied(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidied = _joined({name: _tidied_value(name, value) for name, value in schema.items()})
    if "default" in tidied and tidied["default"] is None:
        del tidied["default"]
    if "const" in tidied:
        tidied.pop("enum", None)
    if "enum" in tidied:
        may_be_null = None in tidied["enum"]
        tidied.setdefault("type", ["string", "null"] if may_be_null else "string")
    return tidied


def _joined(schema: dict[str, Any]) -> dict[str, Any]:
    """Write `anyOf` of one plain type and null as a type list, which reads better."""
    match schema:
        case {"anyOf": [{"type": str(kind)} as only, {"type": "null"}], **rest} if (
            "enum" not in only and "const" not in only
        ):
            return {**only, **rest, "type": [kind, "null"]}
    return schema


def _tidied_value(name: str, value: Any) -> Any:
    match name:
        case "$ref":
            return _REF + public_name(value.removeprefix(_REF))
        case "title":
            return public_name(value)
        case "properties":
            return {member: _tidied(each) for member, each in value.items()}
    return value if name in _LITERAL else _tidied(value)


#: Their values are no schemas.
_LITERAL = frozenset({"enum", "const", "default", "examples", "example", "required"})
