"""`/openapi.json`, and `/docs`, which shows it as one page without any script or other host."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from headrace.http.openapi import openapi_document

#: Nothing is loaded from anywhere: the only style stands in the page, allowed by its hash-free
#: inline permission, and there is no script.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"


async def openapi(request: Request) -> Response:
    """The document."""
    del request
    return Response(_document_text(), media_type="application/json")


async def page(request: Request) -> Response:
    """The document for people."""
    del request
    return HTMLResponse(_page_text(), headers={"content-security-policy": _POLICY})


@lru_cache(maxsize=1)
def _document_text() -> bytes:
    return msgspec.json.encode(openapi_document())


@lru_cache(maxsize=1)
def _page_text() -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files("headrace.http").joinpath("docs.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(document=openapi_document(), pretty=_pretty)


def _pretty(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
