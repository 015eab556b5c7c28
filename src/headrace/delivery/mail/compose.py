"""Composes the bytes of a mail from the content of a message."""

from __future__ import annotations

import html as html_escapes
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from headrace.delivery.mail.html_tokens import insert_after_body_start
from headrace.delivery.mail.mime import (
    Part,
    address_header,
    file_part,
    mailbox,
    multipart,
    plain_header,
    text_header,
    text_part,
)
from headrace.delivery.mail.plain_text import html_to_text
from headrace.domain.messages.addresses import Mailbox
from headrace.domain.messages.email_request import Attachment
from headrace.domain.messages.header_rules import check_header, check_header_value
from headrace.domain.messages.kinds import MessageKind

#: Of the whole mail as it goes to the relay.
MAIL_BYTES_MAX = 10 * 1024 * 1024
_FEEDBACK_PART = re.compile(r"[^A-Za-z0-9_.-]+")
#: Invisible, but not collapsed: keeps the text after the preheader out of the preview.
_PREVIEW_FILLER = "&#8199;&#847; " * 40


class ComposeError(Exception):
    """A mail that cannot be composed; the message is a sentence for the sender."""


class MailTooLargeError(ComposeError):
    """The mail is over the limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsubscribe:
    """How a recipient of marketing mail unsubscribes."""

    #: `https://…/u/{token}`; one POST there is enough.
    url: str
    #: Address at the bounce domain.
    address: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MailContent:
    """The content of one mail. It has one recipient; `to` and `cc` are only shown."""

    #: `tokens.MessageKeys.message_key`.
    message_key: str
    #: Domain of the sender, lower-case ASCII.
    sending_domain: str
    kind: MessageKind
    sender: Mailbox
    to: tuple[Mailbox, ...]
    subject: str
    #: Empty: derived from the HTML.
    text: str = ""
    html: str = ""
    #: Shown next to the subject in lists.
    preview: str = ""
    cc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    #: Microseconds since 1970.
    at_us: int
    #: From 1; a repeat after an unknown outcome is marked by a header.
    attempt: int = 1
    unsubscribe: Unsubscribe | None = None
    topic_id: str | None = None
    #: Automation, version, topic and project, for Google Postmaster; empty parts become `-`.
    feedback: tuple[str, str, str, str] | None = field(default=None)
    #: Further headers that Headrace writes, such as the token of the message.
    own_headers: tuple[tuple[str, str], ...] = ()


def compose(content: MailContent) -> bytes:
    """Compose the mail, unsigned, with CRLF line ends; the same bytes for the same content.

    ASCII, except for addresses with other characters before the @: those need SMTPUTF8.

    Raises:
        MailTooLargeError: it is over `MAIL_BYTES_MAX`.
        ComposeError: part of the content cannot be in a mail.
    """
    if content.kind is MessageKind.MARKETING and content.unsubscribe is None:
        raise ComposeError("marketing mail needs a way to unsubscribe")
    attached = sum(len(one.data) for one in content.attachments)
    if attached + len(content.html) + len(content.text) > MAIL_BYTES_MAX:
        raise _too_large()
    try:
        headers = list(_headers(content))
        body = _body(content)
    except ValueError as error:
        message = f"the mail cannot be composed: {error}"
        raise ComposeError(message) from error
    composed = b"".join(
        (
            "\r\n".join((*headers, "MIME-Version: 1.0", *body.headers)).encode(),
            b"\r\n\r\n",
            body.body,
        )
    )
    if len(composed) > MAIL_BYTES_MAX:
        raise _too_large()
    return composed


def message_id_header(message_key: str, sending_domain: str) -> str:
    """Value of `Message-ID`: the same over all attempts."""
    return f"<{message_key}@{sending_domain}>"


def _too_large() -> MailTooLargeError:
    return MailTooLargeError(f"the mail is larger than {MAIL_BYTES_MAX} bytes")


def _headers(content: MailContent) -> Iterator[str]:
    message_id = message_id_header(content.message_key, content.sending_domain)
    yield plain_header("Message-ID", message_id)
    moment = datetime.fromtimestamp(content.at_us // 1_000_000, UTC)
    yield plain_header("Date", format_datetime(moment))
    yield _addresses("From", (content.sender,))
    yield _addresses("To", content.to)
    if content.cc:
        yield _addresses("Cc", content.cc)
    if content.reply_to:
        yield _addresses("Reply-To", content.reply_to)
    yield text_header("Subject", check_header_value(content.subject))
    for name, value in content.headers:
        check_header(name, value)
        yield text_header(name, value)
    if content.kind is MessageKind.TRANSACTIONAL:
        # Suppresses out-of-office replies.
        yield "Auto-Submitted: auto-generated"
    if content.unsubscribe is not None:
        link, address = content.unsubscribe.url, content.unsubscribe.address
        yield plain_header("List-Unsubscribe", f"<{link}>, <mailto:{address}>")
        yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click"
    if content.topic_id is not None:
        yield plain_header("List-Id", f"<{content.topic_id}.{content.sending_domain}>")
    if content.feedback is not None:
        parts = (_FEEDBACK_PART.sub("", part)[:60] or "-" for part in content.feedback)
        yield plain_header("Feedback-ID", ":".join(parts))
    for name, value in content.own_headers:
        yield plain_header(name, value)
    if content.attempt > 1:
        yield f"X-Headrace-Attempt: {content.attempt}"


def _addresses(name: str, mailboxes: Iterable[Mailbox]) -> str:
    return address_header(name, [mailbox(one.name, one.wire_address) for one in mailboxes])


def _body(content: MailContent) -> Part:
    body = text_part("plain", content.text or html_to_text(content.html))
    if content.html:
        html = content.html
        if content.preview:
            html = insert_after_body_start(html, _preheader(content.preview))
        parts = (body, text_part("html", html))
        body = multipart("alternative", parts, f"a{content.message_key}")
    if content.attachments:
        files = (file_part(one.type, one.name, one.data) for one in content.attachments)
        body = multipart("mixed", (body, *files), f"m{content.message_key}")
    return body


def _preheader(preview: str) -> str:
    return (
        '<div style="display:none;max-height:0;overflow:hidden;mso-hide:all">'
        f"{html_escapes.escape(preview)}{_PREVIEW_FILLER}</div>"
    )
