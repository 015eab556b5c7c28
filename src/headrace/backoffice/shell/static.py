"""Stylesheets, scripts and icons: small, held in memory, addressed by their content."""

from __future__ import annotations

from hashlib import sha256
from importlib import resources

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from headrace.backoffice.shell.context import PREFIX

_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class _File(msgspec.Struct, frozen=True):
    body: bytes
    media_type: str
    digest: str


def _load() -> dict[str, _File]:
    found = {}
    for entry in (resources.files("headrace.backoffice") / "static").iterdir():
        ending = entry.name.rpartition(".")[2]
        if ending in _TYPES:
            body = entry.read_bytes()
            digest = sha256(body).hexdigest()[:16]
            found[entry.name] = _File(body, _TYPES[ending], digest)
    return found


_FILES = _load()


def static_url(name: str) -> str:
    """Address of a file; it changes with the content, so browsers may cache it for ever."""
    return f"{PREFIX}/static/{_FILES[name].digest}/{name}"


async def static_file(request: Request) -> Response:
    """Serve the file with that name and content hash."""
    file = _FILES.get(request.path_params["name"])
    if file is None or file.digest != request.path_params["digest"]:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(file.body, headers=headers, media_type=file.media_type)
