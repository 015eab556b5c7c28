"""Every route of the table, with requests generated from its description."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.domain.access.api_keys import Scope
from headrace.http.openapi import openapi_document
from headrace.http.routing.route import Route, Who

_PARAMETER = re.compile(r"\{(\w+)\}")
_VALUES = {"boolean": False, "integer": 1, "number": 1}
_FORMATS = {"uuid": str(uuid.uuid4()), "uri": "https://93.184.215.14/"}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    route: Route
    described: Mapping[str, Any]
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def method(self) -> str:
        return self.route.method

    @property
    def path(self) -> str:
        return self.route.path.replace(":path}", "}")

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """`(first part of the path, name)` of each parameter in the path."""
        first = self.path.split("/")[1]
        return [(first, name) for name in _PARAMETER.findall(self.path)]

    @property
    def is_public(self) -> bool:
        return self.route.access.who is Who.ANYBODY

    @property
    def is_for_operators(self) -> bool:
        return self.route.access.who is Who.OPERATOR

    @property
    def scope(self) -> Scope:
        """The one scope that grants access."""
        scope = self.route.access.scope
        assert scope is not None
        return scope

    def target(self, values: Mapping[tuple[str, str], str]) -> str:
        """The path with its parameters filled in; an unknown parameter raises KeyError."""
        filled = self.path
        for place in self.parameters:
            filled = filled.replace(f"{{{place[1]}}}", values[place])
        return filled

    def body(self) -> tuple[bytes | None, str]:
        """`(body, media type)` that the description allows."""
        if not self.route.is_documented and self.route.bodies:
            body = self.route.bodies[0]
            return _json(body.example), body.media
        content = self.described.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            return _json(self._sample(content["application/json"]["schema"])), "application/json"
        for media in content:
            return b"{}", str(media)
        return None, "application/json"

    def _sample(self, schema: Mapping[str, Any]) -> Any:
        """The smallest value that a schema allows."""
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return self._sample(self.document["components"]["schemas"][name])
        if "allOf" in schema:
            merged: dict[str, Any] = {}
            for part in schema["allOf"]:
                whole = part
                if "$ref" in part:
                    name = part["$ref"].rpartition("/")[2]
                    whole = self.document["components"]["schemas"][name]
                properties = merged.get("properties", {}) | whole.get("properties", {})
                required = [*merged.get("required", ()), *whole.get("required", ())]
                merged = {"properties": properties, "required": required}
            return self._sample(merged)
        return self._plain_sample(schema)

    def _plain_sample(self, schema: Mapping[str, Any]) -> Any:
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        if "properties" in schema:
            return {
                name: self._sample(schema["properties"][name])
                for name in schema.get("required", ())
            }
        kinds = schema.get("type", "object")
        kind = kinds if isinstance(kinds, str) else kinds[0]
        if kind == "array":
            return [self._sample(schema.get("items", {}))]
        if kind == "string":
            return _FORMATS.get(schema.get("format", ""), "x")
        return _VALUES.get(kind, {})


def operations(routes: Iterable[Route]) -> Iterator[Operation]:
    """All operations of a table, including those left out of the document."""
    routes = tuple(routes)
    document = openapi_document(routes, {})
    for route in routes:
        path = route.path.replace(":path}", "}")
        described = document["paths"].get(path, {}).get(route.method.lower(), {})
        yield Operation(route=route, described=described, document=document)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
