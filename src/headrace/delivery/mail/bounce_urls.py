"""Parses the settings that say how bounces come back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

_IMAP_EXPECTED = "must be imaps://user:password@host/INBOX"
_LISTEN_EXPECTED = "must be lmtp://127.0.0.1:2424 or smtp://0.0.0.0:2525"
_FOLDER_CHARACTERS_MAX = 200


class MailboxTls(StrEnum):
    """How the connection is encrypted; the value is the scheme of the URL."""

    #: Not at all, for a mailbox on the same machine or network.
    NONE = "imap"
    TLS = "imaps"


_PORTS = {MailboxTls.NONE: 143, MailboxTls.TLS: 993}


@dataclass(frozen=True, kw_only=True, slots=True)
class MailboxUrl:
    """A mailbox that is read by IMAP."""

    tls: MailboxTls
    host: str
    port: int
    user: str
    password: str
    folder: str = "INBOX"
    #: Folder that mails are moved to once they are stored; None: they stay, marked.
    move_to: str | None = None

    def __repr__(self) -> str:
        return f"MailboxUrl({self.shown})"

    @property
    def shown(self) -> str:
        """Without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.tls.value}://{host}:{self.port}/{self.folder}"


@dataclass(frozen=True, slots=True)
class ListenUrl:
    """Where a listener accepts mail."""

    #: LMTP; else SMTP.
    lmtp: bool
    host: str
    port: int

    @property
    def shown(self) -> str:
        """The URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'lmtp' if self.lmtp else 'smtp'}://{host}:{self.port}"


def parse_mailbox_url(text: str) -> MailboxUrl:
    """Read `HEADRACE_MAIL_BOUNCE_IMAP`. An error never repeats the value, which has a password.

    Raises:
        ValueError: with a sentence for the operator.
    """
    parts = _split(text, _IMAP_EXPECTED)
    try:
        tls, port = MailboxTls(parts.scheme), parts.port
    except ValueError:
        raise ValueError(_IMAP_EXPECTED) from None
    query = parse_qs(parts.query, keep_blank_values=True)
    moves = query.pop("move", [])
    folder = unquote(parts.path.strip("/")) or "INBOX"
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not parts.hostname or not user or not password or query or len(moves) > 1 or port == 0:
        raise ValueError(_IMAP_EXPECTED)
    if not all(map(_is_plain, (folder, user, password, *moves))):
        message = "must have user, password and folders in printable ASCII without line breaks"
        raise ValueError(message)
    return MailboxUrl(
        tls=tls,
        host=parts.hostname,
        port=port or _PORTS[tls],
        user=user,
        password=password,
        folder=folder,
        move_to=moves[0] if moves else None,
    )


def parse_listen_url(text: str) -> ListenUrl:
    """Read `HEADRACE_MAIL_BOUNCE_LISTEN`.

    Raises:
        ValueError: with a sentence for the operator.
    """
    parts = _split(text, _LISTEN_EXPECTED)
    try:
        host, port = str(ip_address(parts.hostname or "")), parts.port
    except ValueError:
        raise ValueError(_LISTEN_EXPECTED) from None
    if parts.scheme not in {"lmtp", "smtp"} or port is None or parts.username or parts.query:
        raise ValueError(_LISTEN_EXPECTED)
    if parts.path not in {"", "/"}:
        raise ValueError(_LISTEN_EXPECTED)
    return ListenUrl(parts.scheme == "lmtp", host, port)


def _split(text: str, expected: str) -> SplitResult:
    text = text.strip()
    if not text.isprintable():
        # `urlsplit` drops line breaks silently.
        raise ValueError(expected)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(expected) from None
    if parts.fragment:
        raise ValueError(expected)
    return parts


def _is_plain(text: str) -> bool:
    short = 0 < len(text) <= _FOLDER_CHARACTERS_MAX
    return short and text.isascii() and text.isprintable()
