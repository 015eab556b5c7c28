"""The document as one HTML file, with its style, script and icon inline."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib import resources
from typing import Any

import jinja2
import msgspec
from markupsafe import Markup, escape

from headrace.http.openapi.samples import JSON, sample_of

_REF = "#/components/schemas/"
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[([^]]+)\]\((https://[^)]+)\)")


class DocsPage(msgspec.Struct, frozen=True):
    """The page and the policy that allows its own style and script, and nothing else."""

    html: str
    policy: str


def docs_page(document: Mapping[str, Any], backoffice_path: str | None) -> DocsPage:
    """Render the page of a document."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    css, js, icon = (Markup(_file(name)) for name in ("page.css", "page.js", "icon.svg"))  # noqa: S704 - files of this package
    html = environment.from_string(_file("page.html.jinja")).render(
        title=document["info"]["title"],
        version=document["info"]["version"],
        intro=[_prose(text) for text in document["info"]["description"].split("\n\n")],
        groups=_groups(document),
        types=_types(document["components"]["schemas"]),
        backoffice=backoffice_path,
        css=css,
        js=js,
        icon=icon,
        icon_url="data:image/svg+xml;base64," + base64.b64encode(icon.encode()).decode(),
    )
    policy = (
        f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(js)}; img-src data:; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return DocsPage(html, policy)


def _file(name: str) -> str:
    return resources.files("headrace.http").joinpath("docs_page", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


def _prose(text: str) -> Markup:
    """Render the markup that descriptions use."""
    linked = _LINK.sub(r'<a href="\2">\1</a>', str(escape(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", linked))  # noqa: S704 - escaped above


def _groups(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    components = document["components"]["schemas"]
    groups = []
    for tag in document["tags"]:
        operations = [
            _operation(method, path, operation, components)
            for paths, is_call in ((document["paths"], False), (document["webhooks"], True))
            for path, item in paths.items()
            for method, operation in item.items()
            if tag["name"] in operation["tags"] and not is_call
        ]
        operations += [
            _call(name, item["post"], components)
            for name, item in document["webhooks"].items()
            if tag["name"] in item["post"]["tags"]
        ]
        groups.append({"name": tag["name"], "about": tag["description"], "operations": operations})
    return groups


def _operation(
    method: str, path: str, operation: Mapping[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    described = _described(operation, components)
    sample = sample_of(method, path, operation, components)
    return described | {"method": method, "path": path, "samples": sample.of()}


def _call(name: str, operation: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """What is sent to a webhook."""
    return _described(operation, components) | {"method": "call", "path": name, "samples": []}


def _described(operation: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    responses = operation["responses"]
    return {
        "id": operation["operationId"],
        "summary": operation["summary"],
        "about": _prose(operation["description"]),
        "parameters": [
            _row(
                each["name"],
                each["schema"],
                each.get("description", ""),
                required="required" in each,
            )
            for each in operation.get("parameters", ())
        ],
        "bodies": [
            _body(media, content["schema"], components)
            for media, content in operation.get("requestBody", {}).get("content", {}).items()
        ],
        "responses": [
            {
                "status": status,
                "type": _response_type(response),
                "about": _prose(response["description"]),
            }
            for status, response in responses.items()
        ],
        "example": _example(responses.values()),
    }


def _body(media: str, schema: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    whole = components[schema["$ref"].removeprefix(_REF)] if "$ref" in schema else schema
    about = [_row(media, schema, whole.get("description", ""))] if media != JSON else []
    return {"media": media, "type": _type(schema), "members": _members(whole) or about}


def _example(responses: Iterable[Mapping[str, Any]]) -> str:
    for response in responses:
        content = response.get("content", {}).get(JSON, {})
        if "example" in content:
            text = msgspec.json.encode(content["example"])
            return msgspec.json.format(text, indent=2).decode()
    return ""


def _types(schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "about": _prose(schema.get("description", "")),
            "members": _members(schema),
        }
        for name, schema in schemas.items()
        if "properties" in schema
    ]


def _members(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    required = schema.get("required", ())
    return [
        _row(name, member, member.get("description", ""), required=name in required)
        for name, member in schema.get("properties", {}).items()
    ]


def _row(
    name: str, schema: Mapping[str, Any], about: str, *, required: bool = False
) -> dict[str, Any]:
    return {
        "name": name,
        "type": _type(schema),
        "about": _prose(about),
        "required": required,
    }


def _response_type(response: Mapping[str, Any]) -> Markup:
    for content in response.get("content", {}).values():
        schema = content["schema"]
        return _type(schema.get("properties", {}).get("data", schema))
    return Markup()


def _type(schema: Mapping[str, Any]) -> Markup:
    """A schema in a few words, with links to the types it names."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return Markup('<a href="#type-{0}">{0}</a>').format(name)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            return Markup(" or ").join(_type(each) for each in schema[word])
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "const" in schema:
        return Markup("<code>{}</code>").format(msgspec.json.encode(schema["const"]).decode())
    if "enum" in schema:
        names = (msgspec.json.encode(value).decode().strip('"') for value in schema["enum"])
        return Markup(" · ").join(Markup("<code>{}</code>").format(name) for name in names)
    kinds = schema.get("type", "any value")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return Markup(" or ").join(_kind(kind, schema) for kind in kinds)


def _kind(kind: str, schema: Mapping[str, Any]) -> Markup:
    if kind == "array":
        return Markup("array of ") + _type(schema.get("items", {}))
    if kind == "string" and "format" in schema:
        return Markup("string ({})").format(schema["format"])
    return escape(kind)
