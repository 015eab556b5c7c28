"""Reads complaint reports (ARF, RFC 5965)."""

from __future__ import annotations

import msgspec

from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source, word
from headrace.domain.messages.feedback.mime import Headers, Part
from headrace.domain.messages.feedback.origin import address_of, time_of

TYPE = "message/feedback-report"

#: Other types (`not-spam`, `auth-failure`) are not about a recipient who wants no mail.
_KINDS = {
    **dict.fromkeys(("abuse", "fraud", "virus", "other", "miscategorized"), FeedbackKind.COMPLAINT),
    **dict.fromkeys(("opt-out", "opt-out-list"), FeedbackKind.UNSUBSCRIBE),
}


def read_complaint(part: Part) -> Headers:
    """The fields of a complaint report."""
    return Headers(part.content.strip())


def complaint(fields: Headers, known: Feedback) -> Feedback:
    """The report of a complaint, with what is known about the message."""
    kind = fields.first("feedback-type").strip().lower()
    _, _, reporter = fields.first("reporting-mta").rpartition(";")
    return msgspec.structs.replace(
        known,
        source=Source.ARF,
        kind=_KINDS.get(kind, FeedbackKind.UNKNOWN),
        event=word(kind),
        address=address_of(fields.first("original-rcpt-to", "removal-recipient")),
        reporter=word(reporter.strip()) or None,
        at_us=time_of(fields.first("arrival-date", "received-date")) or known.at_us,
    )
