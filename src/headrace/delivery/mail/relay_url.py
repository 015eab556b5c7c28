"""Parses the setting `HEADRACE_MAIL_RELAY`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

import idna


class RelayKind(StrEnum):
    """Protocol of a relay; the value is the scheme of its URL."""

    CAPTURE = "capture"
    PLAIN = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


_PORTS = {RelayKind.PLAIN: 25, RelayKind.STARTTLS: 587, RelayKind.TLS: 465}
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_EXPECTED = "must be capture: or smtp://, smtp+starttls:// or smtps:// with host and port"


@dataclass(frozen=True, kw_only=True, slots=True)
class RelayUrl:
    """Where mail is sent."""

    kind: RelayKind
    host: str = ""
    port: int = 0
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"RelayUrl({self.shown})"

    @property
    def shown(self) -> str:
        """Without user and password."""
        if self.kind is RelayKind.CAPTURE:
            return "capture:"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_relay_url(text: str) -> RelayUrl:
    """Read the setting. An error never repeats the value, which may contain a password.

    Raises:
        ValueError: with a sentence for the operator.
    """
    text = text.strip()
    if text in {"capture:", "capture"}:
        return RelayUrl(kind=RelayKind.CAPTURE)
    if not text.isprintable():
        # `urlsplit` drops line breaks silently.
        raise ValueError(_EXPECTED)
    try:
        parts = urlsplit(text)
        kind = RelayKind(parts.scheme)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        raise ValueError(_EXPECTED) from None
    if kind is RelayKind.CAPTURE or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(_EXPECTED)
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if (user is None) != (password is None) or user == "":
        raise ValueError("must have both user and password, or neither")
    return RelayUrl(kind=kind, host=host, port=port or _PORTS[kind], user=user, password=password)


def _host(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        host = text if text.isascii() else idna.encode(text, uts46=True).decode()
        if _HOST.fullmatch(host.lower()) is None:
            raise ValueError(_EXPECTED) from None
        return host.lower()
