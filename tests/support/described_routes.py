"""Every route as the OpenAPI document describes it, with requests made from the description."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headrace.domain.api_keys import Scope

_METHODS = ("get", "post", "put", "patch", "delete")
_PARAMETER = re.compile(r"\{(\w+)\}")
#: Takes events; all else either only looks, or changes what is kept.
_INGEST = frozenset({"/events", "/events/batch", "/events/validate"})
_VALUES = {"boolean": False, "integer": 1, "number": 1}
_FORMATS = {"uuid": str(uuid.uuid4()), "uri": "https://93.184.215.14/"}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    described: Mapping[str, Any]
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """`(first part of the path, name)` of each parameter in the path."""
        first = self.path.split("/")[1]
        return [(first, name) for name in _PARAMETER.findall(self.path)]

    @property
    def is_public(self) -> bool:
        return self.described.get("security") == []

    @property
    def is_for_operators(self) -> bool:
        return any("operator" in way for way in self.described.get("security", ()))

    @property
    def scope(self) -> Scope:
        """The one scope that opens it."""
        if self.method == "POST" and self.path in _INGEST:
            return Scope.INGEST
        return Scope.READ if self.method == "GET" else Scope.MANAGE

    def target(self, values: Mapping[tuple[str, str], str]) -> str:
        """The path with its parameters filled in; a value that is not known is a KeyError."""
        filled = self.path
        for place in self.parameters:
            filled = filled.replace(f"{{{place[1]}}}", values[place])
        return filled

    def body(self) -> tuple[bytes | None, str]:
        """`(body, media type)` that the description allows."""
        content = self.described.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            return _json(self._sample(content["application/json"]["schema"])), "application/json"
        for media in content:
            return b"{}", str(media)
        return None, "application/json"

    def _sample(self, schema: Mapping[str, Any]) -> Any:
        """The least that a schema allows."""
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


def operations(document: Mapping[str, Any]) -> Iterator[Operation]:
    """All of a document."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield Operation(
                    method=method.upper(), path=path, described=item[method], document=document
                )


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
