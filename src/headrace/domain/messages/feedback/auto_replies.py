"""Recognizes replies by programs (RFC 3834), such as out-of-office notes."""

from __future__ import annotations

import re

from headrace.domain.messages.feedback.mime import Headers

_FIELDS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-mail-autoreply", "x-vacation")
_PRECEDENCE = frozenset({"auto_reply", "auto-reply", "bulk", "junk", "list"})
_SUBJECT = re.compile(
    # English, German, French.
    r"out of (?:the )?office|auto(?:matic|mated)?[ -]?(?:reply|response)|on (?:vacation|holiday)"
    r"|away from (?:the|my) office|vacation reply"
    r"|abwesen(?:d|heit)|automatische (?:antwort|r(?:ü|ue)ckmeldung)|nicht im (?:b(?:ü|ue)ro|hause)"
    r"|urlaubs?(?:meldung|notiz|vertretung)|im urlaub"
    r"|r(?:é|e)ponse automatique|absen(?:t|ce) d[ue]|message d'absence|en cong(?:é|e)s?"
    r"|absence du bureau",
    re.IGNORECASE,
)


def is_auto_reply(headers: Headers) -> bool:
    """Whether a mail that is no report was sent by a program."""
    submitted = headers.first("auto-submitted").partition(";")[0].strip().lower()
    return (
        submitted not in {"", "no"}
        or any(name in headers for name in _FIELDS)
        or headers.first("precedence").strip().lower() in _PRECEDENCE
        or _SUBJECT.search(headers.text("subject")) is not None
    )
