"""Ids in paths."""

from __future__ import annotations

import uuid

from starlette.requests import Request

from headrace.domain.errors import ApiError, ErrorCode
from headrace.domain.ids import UUID_TEXT, uuid_text


def not_found() -> ApiError:
    """404, the same for what is absent and what belongs to another project."""
    return ApiError(ErrorCode.NOT_FOUND, "Not found in this project.")


def read_uuid(text: str) -> bytes:
    """The bytes of an id in a path; 404 when it is not a UUID."""
    if UUID_TEXT.fullmatch(text) is None:
        raise not_found()
    return uuid.UUID(text).bytes


def path_uuid(request: Request, name: str = "id") -> str:
    """Canonical text of an id in the path.

    Raises:
        ApiError: 404 when it is not a UUID.
    """
    return uuid_text(read_uuid(request.path_params[name]))
