"""Ids in paths."""

from __future__ import annotations

from starlette.requests import Request

from headrace.domain.ids import uuid_text
from headrace.http.events.events import read_uuid


def path_uuid(request: Request, name: str = "id") -> str:
    """Canonical text of an id in the path; whatever is no UUID is not found.

    Raises:
        ApiError: 404.
    """
    return uuid_text(read_uuid(request.path_params[name]))
