"""Whether a state-changing request comes from one of the backoffice's own pages."""

from __future__ import annotations

import hmac
from hashlib import sha256

from starlette.requests import Request

from headrace.backoffice.shell.context import Backoffice


def is_our_own(request: Request, backoffice: Backoffice) -> bool:
    """Check `Sec-Fetch-Site` and `Origin`; browsers send at least one of them with every form."""
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
    """The token in every form of a session; reveals nothing about the session's own token."""
    return hmac.new(session_token.encode(), b"csrf", sha256).hexdigest()


def csrf_matches(session_token: str, sent: str) -> bool:
    """Compare in constant time, as bytes: `compare_digest` rejects non-ASCII text."""
    return hmac.compare_digest(csrf_token(session_token).encode(), sent.encode("utf-8", "replace"))
