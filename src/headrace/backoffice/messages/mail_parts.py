"""A mail parsed for display: headers, text, HTML, attachments."""

from __future__ import annotations

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import msgspec

#: Characters shown of a text or of one header; the download has the whole mail.
TEXT_CHARACTERS_MAX = 200_000
HEADER_CHARACTERS_MAX = 2000
HEADERS_MAX = 100
FILES_MAX = 100


class MailFile(msgspec.Struct, frozen=True):
    """An attachment."""

    name: str
    type: str
    content: bytes


class MailParts(msgspec.Struct, frozen=True):
    """One mail."""

    headers: list[tuple[str, str]]
    #: Empty: none.
    text: str
    html: str
    files: list[MailFile]

    def header(self, name: str) -> str:
        """The first header of that name, empty without one."""
        wanted = name.lower()
        return next((value for each, value in self.headers if each.lower() == wanted), "")


def take_apart(content: bytes) -> MailParts:
    """Parse a mail; unreadable parts are left out."""
    parsed = BytesParser(policy=policy.default).parsebytes(content)
    headers = [
        (name, str(value)[:HEADER_CHARACTERS_MAX])
        for name, value in list(parsed.items())[:HEADERS_MAX]
    ]
    return MailParts(
        headers=headers,
        text=_body(parsed, "plain"),
        html=_body(parsed, "html"),
        files=[_file(part) for part in list(parsed.iter_attachments())[:FILES_MAX]],
    )


def _body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body((kind,))
    return "" if part is None else str(part.get_content())[:TEXT_CHARACTERS_MAX]


def _file(part: EmailMessage) -> MailFile:
    content = part.get_payload(decode=True)
    return MailFile(
        name=part.get_filename() or "file",
        type=part.get_content_type(),
        content=content if isinstance(content, bytes) else b"",
    )
