"""Reads a mail that came to a bounce address or a feedback address."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.domain.messages.feedback import complaint_report, delivery_status
from headrace.domain.messages.feedback.auto_replies import is_auto_reply
from headrace.domain.messages.feedback.bounce_text import looks_like_bounce, read_bounce_text
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.mime import Headers, Mail, Part, read_mail, split_headers
from headrace.domain.messages.feedback.origin import Origin, find_origin, time_of
from headrace.domain.messages.tokens import BounceAddresses, UnsubscribeTarget

_RETURNED = ("message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers")
_RECEIPT = "message/disposition-notification"


class ReturnedMail(msgspec.Struct, frozen=True):
    """What a mail says, one report per recipient that it names; at least one."""

    reports: tuple[Feedback, ...]
    #: The opt-out of a mail to an unsubscribe address, verified by its token.
    unsubscribe: UnsubscribeTarget | None = None


def read_returned_mail(
    raw: bytes, *, recipients: Sequence[str] = (), addresses: BounceAddresses | None = None
) -> ReturnedMail:
    """Read a mail. Never raises: what is not understood is of kind `unknown`.

    1. A mail to an unsubscribe address is an opt-out, whatever it says.
    2. A delivery report or complaint report is read by its fields.
    3. Any other mail by a mail server is read by its text.
    4. Any other mail by a program is an automatic reply.

    Args:
        raw: the mail; bytes over `mime.BYTES_MAX` are ignored.
        recipients: envelope recipients, if they are known.
        addresses: the store's bounce addresses; None: no address is believed.
    """
    mail = read_mail(raw)
    status, abuse = mail.first(*delivery_status.TYPES), mail.first(complaint_report.TYPE)
    fields = complaint_report.read_complaint(abuse) if abuse else Headers(b"")
    report = delivery_status.read_report(status) if status else None
    origin = find_origin(
        addresses,
        recipients,
        mail.headers,
        _returned(mail.first(*_RETURNED)),
        fields.all("original-mail-from"),
        report.message.first("original-envelope-id") if report else "",
    )
    known = _known(mail, origin)
    if origin.unsubscribe is not None:
        known = msgspec.structs.replace(known, kind=FeedbackKind.UNSUBSCRIBE)
        return ReturnedMail((known,), origin.unsubscribe)
    if abuse is not None:
        return ReturnedMail((complaint_report.complaint(fields, known),))
    if report is not None:
        known_dsn = msgspec.structs.replace(known, source=Source.DSN)
        reports = tuple(delivery_status.read_recipients(report, known_dsn))
        if reports:
            return ReturnedMail(reports)
    return ReturnedMail((_without_report(mail, known),))


def report_for(reports: Sequence[Feedback], address: str) -> Feedback:
    """The report about the recipient of a message.

    A list or an alias may report each of its members instead: some of them failing does not make
    the address bad.

    Args:
        reports: of one mail; at least one.
        address: the recipient, normalized.
    """
    named = [one for one in reports if one.address and one.address.lower() == address]
    others = [one for one in reports if one.kind is not FeedbackKind.HARD]
    return (named or others or list(reports))[0]


def _known(mail: Mail, origin: Origin) -> Feedback:
    return Feedback(
        kind=FeedbackKind.UNKNOWN,
        source=Source.MAIL,
        message_id=origin.message_id,
        envelope_id=origin.envelope_id,
        original_message_id=origin.original_message_id,
        at_us=time_of(mail.headers.first("date")),
    )


def _without_report(mail: Mail, known: Feedback) -> Feedback:
    receipt = mail.first(_RECEIPT) is not None
    if not receipt and looks_like_bounce(mail.headers):
        bounce = read_bounce_text(mail, known)
        if bounce is not None:
            return bounce
    if receipt or is_auto_reply(mail.headers):
        return msgspec.structs.replace(known, kind=FeedbackKind.AUTO_REPLY)
    return known


def _returned(part: Part | None) -> Headers:
    return Headers(b"") if part is None else split_headers(part.content.lstrip(b"\n"))[0]
