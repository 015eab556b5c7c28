"""The whole document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import msgspec

from headrace.http.openapi.operations import HEADERS, operation
from headrace.http.openapi.page import DocsPage, docs_page
from headrace.http.openapi.schemas import Schemas
from headrace.http.openapi.webhook_calls import TYPES, webhook_calls
from headrace.http.routing.route import Route
from headrace.version import VERSION

#: Group of the calls that are made to webhooks.
WEBHOOKS_TAG = "Webhooks"
_SECURITY_SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hr_<id>_<secret>",
        "description": "An API key of a project.",
    },
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "An API key as the user name, or as the password.",
    },
    "operator": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "hro_<id>_<secret>",
        "description": "The token of an operator who owns the instance.",
    },
}
_ABOUT = """\
Customer events: accepted durably, stored once and delivered to every subscriber.

Successful responses have their value under `data`, lists also a `next_cursor`. An error is
`{"status": 422, "error": {"code": "ValidationError", "message": "…", "details": […]}}` and names
every problem at once. Times are RFC 3339 in UTC with milliseconds, ids are UUIDs."""


def openapi_document(
    routes: Iterable[Route], tags: Mapping[str, str], server_url: str = "/"
) -> dict[str, Any]:
    """The document of a table of routes.

    Args:
        tags: descriptions of the groups, in their order.
        server_url: public URL of the API.
    """
    shown = [route for route in routes if route.is_documented]
    schemas = Schemas(shown, TYPES)
    by_path: dict[str, dict[str, list[Route]]] = {}
    for route in shown:
        path = route.path.replace(":path}", "}")
        by_path.setdefault(path, {}).setdefault(route.method.lower(), []).append(route)
    paths = {
        path: {method: operation(same, schemas) for method, same in methods.items()}
        for path, methods in by_path.items()
    }
    used = {way for item in paths.values() for each in item.values() for way in _ways(each)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Headrace",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server_url}],
        "tags": [{"name": name, "description": text} for name, text in tags.items()],
        "paths": paths,
        "webhooks": webhook_calls(schemas, WEBHOOKS_TAG),
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "headers": HEADERS,
            "securitySchemes": {
                name: scheme for name, scheme in _SECURITY_SCHEMES.items() if name in used
            },
        },
    }


def _ways(described: Mapping[str, Any]) -> Iterable[str]:
    return (name for way in described["security"] for name in way)


class ApiDocument:
    """The document of a running server; built at the first request.

    Args:
        backoffice_path: where the backoffice is, None when there is none.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        tags: Mapping[str, str],
        *,
        server_url: str = "/",
        backoffice_path: str | None = None,
    ) -> None:
        self._routes = tuple(routes)
        self._tags = tags
        self._server_url = server_url
        self._backoffice_path = backoffice_path

    @cached_property
    def document(self) -> dict[str, Any]:
        return openapi_document(self._routes, self._tags, self._server_url)

    @cached_property
    def text(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self.document)

    @cached_property
    def page(self) -> DocsPage:
        """The document as a page."""
        return docs_page(self.document, self._backoffice_path)
