"""Whether a request that changes something comes from one of our own pages."""

from __future__ import annotations

import hmac
from hashlib import sha256

from starlette.requests import Request

from headrace.backoffice.shell.context import Backoffice


def is_our_own(request: Request, backoffice: Backoffice) -> bool:
    """Judge `Sec-Fetch-Site` and `Origin`; browsers send at least one of them with every form."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is None and origin is None:
        return False
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return True
    host = request.headers.get("host", "")
    return origin in {f"http://{host}", f"https://{host}"} or (
        origin == backoffice.public_origin and origin != ""
    )


def csrf_token(session_token: str) -> str:
    """What every form of a session carries; tells nothing about the session's own token."""
    return hmac.new(session_token.encode(), b"csrf", sha256).hexdigest()


def csrf_matches(session_token: str, sent: str) -> bool:
    """Compare in constant time, as bytes: on text it refuses non-ASCII."""
    return hmac.compare_digest(csrf_token(session_token).encode(), sent.encode("utf-8", "replace"))
