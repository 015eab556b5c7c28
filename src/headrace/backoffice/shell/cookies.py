"""The cookies: session, message for the next page, theme."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace.domain.access.sign_in import SESSION_US, TOKEN_CHARACTERS

_SESSION = "headrace_session"
_FLASH = "headrace_flash"
_THEME = "headrace_theme"
THEMES = ("auto", "light", "dark")
FLASH_CHARACTERS_MAX = 300
_YEAR_SECONDS = 365 * 24 * 3600


class Flash(msgspec.Struct, frozen=True):
    """A message for the next page."""

    text: str
    #: `good` or `bad`.
    kind: str = "good"


def _named(name: str, *, secure: bool) -> str:
    # Browsers accept a cookie with this prefix only with Secure, Path=/ and no Domain.
    return f"__Host-{name}" if secure else name


def read_session(request: Request, *, secure: bool) -> str:
    """The session's token, empty without one."""
    token = request.cookies.get(_named(_SESSION, secure=secure), "")
    return token if len(token) == TOKEN_CHARACTERS else ""


def write_session(response: Response, token: str, *, secure: bool) -> None:
    """Set the token as a session cookie; only the server decides when it expires."""
    _set(response, _SESSION, token, SESSION_US // 1_000_000, secure=secure)


def drop_session(response: Response, *, secure: bool) -> None:
    """Delete the token."""
    _set(response, _SESSION, "", 0, secure=secure)


def read_flash(request: Request, *, secure: bool) -> Flash | None:
    """The message left by the previous page."""
    text = request.cookies.get(_named(_FLASH, secure=secure), "")
    try:
        return msgspec.json.decode(urlsafe_b64decode(text.encode()), type=Flash) if text else None
    except (ValueError, msgspec.MsgspecError):
        return None


def write_flash(response: Response, flash: Flash, *, secure: bool) -> None:
    """Leave a message for the next page."""
    short = Flash(flash.text[:FLASH_CHARACTERS_MAX], flash.kind)
    _set(
        response, _FLASH, urlsafe_b64encode(msgspec.json.encode(short)).decode(), 60, secure=secure
    )


def drop_flash(response: Response, *, secure: bool) -> None:
    """Delete the message once shown."""
    _set(response, _FLASH, "", 0, secure=secure)


def read_theme(request: Request, *, secure: bool) -> str:
    """`auto`, `light` or `dark`."""
    theme = request.cookies.get(_named(_THEME, secure=secure), "")
    return theme if theme in THEMES else "auto"


def write_theme(response: Response, theme: str, *, secure: bool) -> None:
    """Set the theme for a year."""
    _set(response, _THEME, theme, _YEAR_SECONDS, secure=secure)


def _set(response: Response, name: str, value: str, age_s: int, *, secure: bool) -> None:
    response.set_cookie(
        _named(name, secure=secure),
        value,
        max_age=age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",
    )
