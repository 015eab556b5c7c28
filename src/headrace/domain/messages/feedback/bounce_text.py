"""Reads bounces that are no delivery report: plain texts of qmail, Exim, Exchange and others."""

from __future__ import annotations

import re

import msgspec

from headrace.domain.messages.feedback.decision import judge
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind
from headrace.domain.messages.feedback.mime import Headers, Mail
from headrace.domain.messages.feedback.origin import address_of
from headrace.domain.messages.smtp_replies import TEXT_CHARACTERS_MAX, ReplyClass

#: Characters of a mail's text that are read; the reason stands near its start.
TEXT_READ_MAX = 16_000

_DAEMON = re.compile(
    r"mailer[-_ ]?daemon|mail ?delivery (?:sub)?system|postmaster|mdaemon|microsoft ?exchange"
    r"|<>",
    re.IGNORECASE,
)
_SUBJECT = re.compile(
    r"undeliver(?:able|ed)|delivery (?:status notification|failure|has failed|failed)"
    r"|mail delivery (?:failed|failure)|failure notice|returned mail|returned to sender"
    r"|delivery (?:incomplete|problem)|mail system error|unzustellbar|nicht zustellbar"
    r"|non remis|(?:é|e)chec de (?:la )?(?:remise|distribution)|message delayed|delivery delayed"
    r"|could not be delivered|nicht zugestellt",
    re.IGNORECASE,
)
_DELAYED = re.compile(
    r"delayed|\(delay\)|will be retried|still (?:being )?(?:tried|trying)|not yet been delivered"
    r"|this is a warning message only|verz(?:ö|oe)gert|retard(?:é|e)",
    re.IGNORECASE,
)
#: Lines after which the returned mail follows.
_COPY = re.compile(
    r"(?im)^(?:-{2,} ?(?:below this line|this is a copy|original message|this is the original"
    r"|urspr).*|received: from .*|return-path: .*)$"
)
#: A response with both codes, with one of them, and as qmail writes it.
_RESPONSE = re.compile(
    r"(?<![0-9.])[45][0-9]{2}[ -]#?[45]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.])"
    r"|(?<![0-9.:/])(?:4[25]|55)[0-9][ -](?=[A-Za-z<#])"
    r"|\(?#[45]\.[0-9]{1,3}\.[0-9]{1,3}\)?"
)
#: What precedes the reason where the text has no response.
_BEFORE_REASON = re.compile(
    r"address\(es\) failed:|following (?:recipient|address|destination)[^:]{0,80}:"
    r"|<[^<>@\s]{1,64}@[^<>@\s]{1,255}>:",
    re.IGNORECASE,
)
_STATUS = re.compile(r"(?<![0-9.])([45]\.[0-9]{1,3}\.[0-9]{1,3})(?![0-9.])")
_SPACES = re.compile(r"\s+")


def looks_like_bounce(headers: Headers) -> bool:
    """Whether a mail server seems to have written the mail."""
    return (
        "x-failed-recipients" in headers
        or _DAEMON.search(headers.first("from")) is not None
        or (
            headers.first("return-path").strip() == "<>"
            and _SUBJECT.search(headers.text("subject")) is not None
        )
    )


def before_copy(text: str) -> str:
    """What a mail server wrote, without the mail that it returns below."""
    copy = _COPY.search(text)
    return text[: copy.start()] if copy else text


def read_bounce_text(mail: Mail, known: Feedback) -> Feedback | None:
    """The bounce that a text describes; None when it describes none."""
    part = mail.first("text/plain") or mail.first("text/html")
    text = "" if part is None else part.text[:TEXT_READ_MAX]
    text = _SPACES.sub(" ", before_copy(text)).strip()
    failed = mail.headers.first("x-failed-recipients")
    address = address_of(failed) or address_of(text)
    subject = mail.headers.text("subject")
    if _DELAYED.search(subject) or _DELAYED.search(text[:TEXT_CHARACTERS_MAX]):
        return msgspec.structs.replace(known, kind=FeedbackKind.DELAYED, address=address)
    failure = judge(*_codes(text))
    reported = bool(failed) or failure.status is not None or _SUBJECT.search(subject) is not None
    if not reported and failure.reason in {None, ReplyClass.DEFERRED}:
        return None
    return msgspec.structs.replace(
        known,
        kind=failure.kind,
        address=address,
        reason=failure.reason,
        status=failure.status,
        diagnostic=failure.text,
    )


def _codes(text: str) -> tuple[str, str]:
    """Enhanced code, and the text that starts with the response as far as one is found."""
    status = _STATUS.search(text)
    found = _RESPONSE.search(text)
    code = status[1] if status else ""
    if found is None or found[0].startswith(("(", "#")):
        # qmail writes the code after the reason.
        reason = _BEFORE_REASON.search(text)
        return code, text[reason.end() if reason else 0 : found.end() if found else None]
    return code, text[found.start() :]
