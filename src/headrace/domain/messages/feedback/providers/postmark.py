"""Reads webhooks of Postmark."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.messages.feedback.decision import judge
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source, word
from headrace.domain.messages.feedback.providers import payloads
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import BounceAddresses

#: Types of a bounce; others are unknown.
_BOUNCES = {
    "HardBounce": (FeedbackKind.HARD, ReplyClass.ADDRESS_BAD),
    "BadEmailAddress": (FeedbackKind.HARD, ReplyClass.ADDRESS_BAD),
    "SoftBounce": (FeedbackKind.SOFT, ReplyClass.DEFERRED),
    "DnsError": (FeedbackKind.SOFT, ReplyClass.DOMAIN_BAD),
    "Transient": (FeedbackKind.DELAYED, None),
    "AutoResponder": (FeedbackKind.AUTO_REPLY, None),
    "AddressChange": (FeedbackKind.AUTO_REPLY, None),
    "ChallengeVerification": (FeedbackKind.AUTO_REPLY, None),
    "Unsubscribe": (FeedbackKind.UNSUBSCRIBE, None),
    "SpamComplaint": (FeedbackKind.COMPLAINT, None),
    "SpamNotification": (FeedbackKind.BLOCKED, ReplyClass.SENDER_REFUSED),
    "Blocked": (FeedbackKind.BLOCKED, ReplyClass.SENDER_REFUSED),
    "DMARCPolicy": (FeedbackKind.BLOCKED, ReplyClass.SENDER_REFUSED),
    "VirusNotification": (FeedbackKind.BLOCKED, ReplyClass.CONTENT_REFUSED),
    "TemplateRenderingFailed": (FeedbackKind.BLOCKED, ReplyClass.CONTENT_REFUSED),
}
_UNKNOWN = (FeedbackKind.UNKNOWN, None)
#: Kinds that the server's response may correct: it may name another reason.
_ABOUT_ADDRESS = frozenset({FeedbackKind.HARD, FeedbackKind.SOFT})


def read_postmark(body: bytes, known: BounceAddresses | None = None) -> tuple[Feedback, ...]:
    """Read a webhook; always one report.

    Args:
        body: of the request. Its password was checked before, see `credentials`.
        known: the store's bounce addresses, which verify a token in the metadata.
    """
    members = payloads.read_json(body)
    record = payloads.text(members, "RecordType")
    token = payloads.text(payloads.inside(members, "Metadata"), payloads.TOKEN_NAME)
    base = Feedback(
        kind=FeedbackKind.UNKNOWN,
        source=Source.POSTMARK,
        event=word(record),
        message_id=payloads.signed_message_id(known, token=token),
        provider_id=word(payloads.text(members, "MessageID")) or None,
        address=payloads.address(payloads.text(members, "Email", "Recipient")),
        at_us=payloads.time_of(payloads.text(members, "BouncedAt", "DeliveredAt", "ChangedAt")),
    )
    return (_read(record, members, base),)


def _read(record: str, members: dict[str, Any], base: Feedback) -> Feedback:
    match record:
        case "Bounce":
            return _bounce(members, base)
        case "SpamComplaint":
            return msgspec.structs.replace(base, kind=FeedbackKind.COMPLAINT)
        case "Delivery":
            text = judge("", payloads.text(members, "Details")).text
            return msgspec.structs.replace(base, kind=FeedbackKind.DELIVERED, diagnostic=text)
        case "SubscriptionChange" if _left(members):
            return msgspec.structs.replace(base, kind=FeedbackKind.UNSUBSCRIBE)
    return base


def _bounce(members: dict[str, Any], base: Feedback) -> Feedback:
    name = payloads.text(members, "Type")
    kind, reason = _BOUNCES.get(name, _UNKNOWN)
    failure = judge("", payloads.text(members, "Details"))
    if kind in _ABOUT_ADDRESS and failure.sure:
        kind, reason = failure.kind, failure.reason
    return msgspec.structs.replace(
        base,
        kind=kind,
        event=word(f"Bounce/{name}"),
        reason=reason,
        status=failure.status,
        diagnostic=failure.text,
    )


def _left(members: dict[str, Any]) -> bool:
    """Whether the recipient unsubscribed; bounces and complaints have records of their own."""
    return (
        members.get("SuppressSending") is True
        and payloads.text(members, "Origin") == "Recipient"
        and payloads.text(members, "SuppressionReason") == "ManualSuppression"
    )
