"""Reads webhooks of Amazon SES, with or without the envelope of SNS.

Both forms are read: notifications (`notificationType`) and published events (`eventType`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from headrace.domain.messages.feedback.decision import Failure, judge
from headrace.domain.messages.feedback.form import (
    RECIPIENTS_MAX,
    Feedback,
    FeedbackKind,
    Source,
    word,
)
from headrace.domain.messages.feedback.providers import payloads
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import BounceAddresses

_HARD = (FeedbackKind.HARD, ReplyClass.ADDRESS_BAD)
_TOO_LARGE = (FeedbackKind.BLOCKED, ReplyClass.TOO_LARGE)
_CONTENT = (FeedbackKind.BLOCKED, ReplyClass.CONTENT_REFUSED)
_SOFT = (FeedbackKind.SOFT, ReplyClass.DEFERRED)
#: By type and subtype of a bounce, where the response itself does not say more.
_BOUNCES = {
    ("Permanent", "General"): _HARD,
    ("Permanent", "NoEmail"): _HARD,
    # SES sends nothing to an address on these lists.
    ("Permanent", "Suppressed"): _HARD,
    ("Permanent", "OnAccountSuppressionList"): _HARD,
    ("Transient", "MailboxFull"): (FeedbackKind.SOFT, ReplyClass.MAILBOX_FULL),
    ("Transient", "MessageTooLarge"): _TOO_LARGE,
    ("Transient", "ContentRejected"): _CONTENT,
    ("Transient", "AttachmentRejected"): _CONTENT,
    ("Transient", "CustomTimeoutExceeded"): _SOFT,
}
#: Types of a complaint that are no wish to get no mail.
_NO_COMPLAINT = frozenset({"not-spam", "auth-failure"})
_UNKNOWN = (FeedbackKind.UNKNOWN, None)


def read_ses(body: bytes, known: BounceAddresses | None = None) -> tuple[Feedback, ...]:
    """Read a webhook; at least one report, one per recipient.

    Args:
        body: of the request. The signature of SNS was checked before, see `sns_signature`.
        known: the store's bounce addresses, which verify the envelope sender.
    """
    members = payloads.read_json(body)
    if "TopicArn" in members:
        kind = payloads.text(members, "Type")
        if kind != "Notification":
            return (Feedback(kind=FeedbackKind.UNKNOWN, source=Source.SES, event=word(kind)),)
        # The message has no such member itself, so this ends.
        members = payloads.read_json(_message(members))
    event = payloads.text(members, "eventType", "notificationType")
    mail = payloads.inside(members, "mail")
    base = Feedback(
        kind=FeedbackKind.UNKNOWN,
        source=Source.SES,
        event=word(event),
        message_id=payloads.signed_message_id(
            known, sender=payloads.text(mail, "source"), token=_token(mail)
        ),
        original_message_id=payloads.message_id_header(payloads.objects(mail, "headers")),
        provider_id=word(payloads.text(mail, "messageId")) or None,
        at_us=payloads.time_of(payloads.text(mail, "timestamp")),
    )
    return tuple(_read(event, members, base))[:RECIPIENTS_MAX] or (base,)


def _token(mail: dict[str, Any]) -> str:
    """From the tags of published events, else from the headers that SES returns if asked to."""
    values = payloads.inside(mail, "tags").get(payloads.TOKEN_NAME)
    tagged = values[0] if isinstance(values, list) and values else None
    if isinstance(tagged, str):
        return tagged
    return payloads.token_header(payloads.objects(mail, "headers"))


def _message(members: dict[str, Any]) -> str:
    found = members.get("Message")
    return found if isinstance(found, str) else ""


def _read(event: str, members: dict[str, Any], base: Feedback) -> Iterator[Feedback]:
    match event:
        case "Bounce":
            yield from _bounce(payloads.inside(members, "bounce"), base)
        case "Complaint":
            yield from _complaint(payloads.inside(members, "complaint"), base)
        case "Delivery":
            about = payloads.inside(members, "delivery")
            reporter = word(payloads.text(about, "reportingMTA")) or None
            found = _at(about, base, kind=FeedbackKind.DELIVERED, reporter=reporter)
            yield from _each(payloads.addresses(about, "recipients"), found)
        case "DeliveryDelay":
            about = payloads.inside(members, "deliveryDelay")
            event = word(f"{event}/{payloads.text(about, 'delayType')}")
            delayed = _at(about, base, kind=FeedbackKind.DELAYED, event=event)
            yield from _each(_named(about, "delayedRecipients"), delayed)
        case "Reject":
            reason = ReplyClass.CONTENT_REFUSED
            rejected = msgspec.structs.replace(base, kind=FeedbackKind.BLOCKED, reason=reason)
            yield from _each(
                payloads.addresses(payloads.inside(members, "mail"), "destination"), rejected
            )
        case "Subscription":
            about = payloads.inside(members, "subscription")
            left = payloads.inside(about, "newTopicPreferences").get("unsubscribeAll") is True
            kind = FeedbackKind.UNSUBSCRIBE if left else FeedbackKind.UNKNOWN
            yield _at(
                about,
                base,
                kind=kind,
                address=payloads.address(payloads.text(about, "contactList")),
            )


def _bounce(bounce: dict[str, Any], base: Feedback) -> Iterator[Feedback]:
    kind, subtype = payloads.text(bounce, "bounceType"), payloads.text(bounce, "bounceSubType")
    reporter = word(payloads.text(bounce, "reportingMTA").rpartition(";")[2].strip())
    event = word(f"Bounce/{kind}/{subtype}")
    found = _at(bounce, base, event=event, reporter=reporter or None)
    for one in payloads.objects(bounce, "bouncedRecipients"):
        failure = judge(payloads.text(one, "status"), payloads.text(one, "diagnosticCode"))
        decided, reason = _decided(failure, kind, subtype)
        yield msgspec.structs.replace(
            found,
            kind=decided,
            reason=reason,
            address=payloads.address(payloads.text(one, "emailAddress")),
            status=failure.status,
            diagnostic=failure.text,
        )


def _decided(failure: Failure, kind: str, subtype: str) -> tuple[FeedbackKind, ReplyClass | None]:
    if failure.sure:
        return failure.kind, failure.reason
    if (kind, subtype) == ("Transient", "General") and failure.text is not None:
        # Without a text it may be an out-of-office reply.
        return _SOFT
    return _BOUNCES.get((kind, subtype), _UNKNOWN)


def _complaint(complaint: dict[str, Any], base: Feedback) -> Iterator[Feedback]:
    kind = payloads.text(complaint, "complaintFeedbackType")
    unknown = kind in _NO_COMPLAINT
    found = _at(
        complaint,
        base,
        kind=FeedbackKind.UNKNOWN if unknown else FeedbackKind.COMPLAINT,
        event=word(f"Complaint/{kind or payloads.text(complaint, 'complaintSubType')}"),
    )
    yield from _each(_named(complaint, "complainedRecipients"), found)


def _named(members: dict[str, Any], name: str) -> list[str]:
    texts = (payloads.text(one, "emailAddress") for one in payloads.objects(members, name))
    return [found for found in map(payloads.address, texts) if found is not None]


def _each(addresses: list[str], found: Feedback) -> Iterator[Feedback]:
    if not addresses:
        yield found
    for address in addresses:
        yield msgspec.structs.replace(found, address=address)


def _at(members: dict[str, Any], base: Feedback, **changes: Any) -> Feedback:
    at_us = payloads.time_of(payloads.text(members, "timestamp")) or base.at_us
    return msgspec.structs.replace(base, at_us=at_us, **changes)
