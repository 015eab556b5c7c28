"""Reads webhooks of Resend."""

from __future__ import annotations

from typing import Any

import msgspec

from headrace.domain.messages.feedback.decision import judge
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source, word
from headrace.domain.messages.feedback.providers import payloads
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import BounceAddresses

_KINDS = {
    "email.delivered": FeedbackKind.DELIVERED,
    "email.delivery_delayed": FeedbackKind.DELAYED,
    "email.complained": FeedbackKind.COMPLAINT,
}
#: Events that a bounce object or a text explains, and the member with it.
_EXPLAINED = {"email.bounced": "bounce", "email.suppressed": "suppressed"}
_TYPES = {
    "Permanent": (FeedbackKind.HARD, ReplyClass.ADDRESS_BAD),
    "Transient": (FeedbackKind.SOFT, ReplyClass.DEFERRED),
    "OnAccountSuppressionList": (FeedbackKind.HARD, ReplyClass.ADDRESS_BAD),
}
_SUBTYPES = {
    "MailboxFull": (FeedbackKind.SOFT, ReplyClass.MAILBOX_FULL),
    "MessageTooLarge": (FeedbackKind.BLOCKED, ReplyClass.TOO_LARGE),
    "ContentRejected": (FeedbackKind.BLOCKED, ReplyClass.CONTENT_REFUSED),
    "AttachmentRejected": (FeedbackKind.BLOCKED, ReplyClass.CONTENT_REFUSED),
}
_UNKNOWN: tuple[FeedbackKind, ReplyClass | None] = (FeedbackKind.UNKNOWN, None)


def read_resend(body: bytes, known: BounceAddresses | None = None) -> tuple[Feedback, ...]:
    """Read a webhook; at least one report, one per recipient.

    Args:
        body: of the request. Its signature was checked before, see `credentials`.
        known: the store's bounce addresses, which verify a token in the tags.
    """
    members = payloads.read_json(body)
    event, data = payloads.text(members, "type"), payloads.inside(members, "data")
    base = Feedback(
        kind=_KINDS.get(event, FeedbackKind.UNKNOWN),
        source=Source.RESEND,
        event=word(event),
        message_id=payloads.signed_message_id(known, token=_token(data)),
        original_message_id=payloads.message_id_header(payloads.objects(data, "headers")),
        provider_id=word(payloads.text(data, "email_id")) or None,
        at_us=payloads.time_of(payloads.text(members, "created_at")),
    )
    if event in _EXPLAINED:
        base = _bounce(event, payloads.inside(data, _EXPLAINED[event]), base)
    addresses = payloads.addresses(data, "to")
    return tuple(msgspec.structs.replace(base, address=one) for one in addresses) or (base,)


def _bounce(event: str, bounce: dict[str, Any], base: Feedback) -> Feedback:
    name, subtype = payloads.text(bounce, "type"), payloads.text(bounce, "subType")
    failure = judge("", payloads.text(bounce, "message"))
    kind, reason = _SUBTYPES.get(subtype) or _TYPES.get(name) or _UNKNOWN
    # The text is often Resend's own, so only a response of the server outranks the type.
    if failure.sure and (failure.status is not None or failure.kind is FeedbackKind.BLOCKED):
        kind, reason = failure.kind, failure.reason
    return msgspec.structs.replace(
        base,
        kind=kind,
        event=word("/".join(filter(None, (event, name, subtype)))),
        reason=reason,
        status=failure.status,
        diagnostic=failure.text,
    )


def _token(data: dict[str, Any]) -> str:
    """Tags are an object, in older webhooks an array of objects with name and value."""
    found = payloads.text(payloads.inside(data, "tags"), payloads.TOKEN_NAME)
    listed = payloads.objects(data, "tags")
    names = (
        payloads.text(one, "value") for one in listed if one.get("name") == payloads.TOKEN_NAME
    )
    return found or next(names, "") or payloads.token_header(payloads.objects(data, "headers"))
