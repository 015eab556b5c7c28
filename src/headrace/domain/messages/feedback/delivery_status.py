"""Reads delivery reports (RFC 3464): what happened to each recipient."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from headrace.domain.messages.feedback.decision import judge
from headrace.domain.messages.feedback.form import RECIPIENTS_MAX, Feedback, FeedbackKind, word
from headrace.domain.messages.feedback.mime import Headers, Part
from headrace.domain.messages.feedback.origin import address_of, time_of

TYPES = ("message/delivery-status", "message/global-delivery-status")

_BLANK_LINES = re.compile(rb"\n[ \t]*\n\s*")
#: Our relay reports `relayed` when the receiving server accepted the mail and sends no reports
#: itself, and `expanded` when it accepted the mail for a list.
_ACCEPTED = frozenset({"delivered", "relayed", "expanded"})
_BY_CLASS = {"2": "delivered", "4": "delayed", "5": "failed"}


class Report(msgspec.Struct, frozen=True):
    """A delivery report: fields of the message, then of each recipient."""

    message: Headers
    recipients: tuple[Headers, ...]


def read_report(part: Part) -> Report:
    """Split a delivery report into its blocks."""
    blocks = _BLANK_LINES.split(part.content.strip(), maxsplit=RECIPIENTS_MAX + 1)
    read = [Headers(block) for block in blocks[: RECIPIENTS_MAX + 1] if block]
    # Some servers leave out the block of the message, or the blank line after it.
    per_recipient = tuple(block for block in read if _names_recipient(block))
    return Report(read[0] if read else Headers(b""), per_recipient)


def read_recipients(report: Report, known: Feedback) -> Iterator[Feedback]:
    """One report per recipient, with what is known about the message."""
    for block in report.recipients:
        yield _read(block, msgspec.structs.replace(known, reporter=_reporter(report.message)))


def _names_recipient(block: Headers) -> bool:
    return any(name in block for name in ("final-recipient", "original-recipient", "action"))


def _read(block: Headers, known: Feedback) -> Feedback:
    status = block.first("status").strip()
    diagnostic = block.first("diagnostic-code")
    action = block.first("action").partition("(")[0].strip().lower()
    failure = judge(status, diagnostic)
    kind = {
        "delayed": FeedbackKind.DELAYED,
        "failed": failure.kind,
        **dict.fromkeys(_ACCEPTED, FeedbackKind.DELIVERED),
    }.get(action or _BY_CLASS.get(status[:1], ""), FeedbackKind.UNKNOWN)
    failed = kind is failure.kind
    # An alias or a forward reports the address it leads to; the original one is ours.
    address = address_of(block.first("original-recipient"))
    return msgspec.structs.replace(
        known,
        kind=kind,
        event=word(action or status),
        address=address or address_of(block.first("final-recipient")),
        reason=failure.reason if failed else None,
        status=failure.status or (status[:11] if status[:1] == "2" else None),
        diagnostic=failure.text,
        at_us=time_of(block.first("last-attempt-date")) or known.at_us,
    )


def _reporter(message: Headers) -> str | None:
    _, _, name = message.first("reporting-mta").rpartition(";")
    return word(name.strip()) or None
