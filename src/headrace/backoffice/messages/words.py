"""Labels of statuses, reasons and guardrails."""

from __future__ import annotations

from headrace.domain.messages.guardrails import Guardrail
from headrace.domain.messages.kinds import MessageStatus

STATUSES = {
    MessageStatus.QUEUED: "It waits for a worker to send it.",
    MessageStatus.SENDING: "A worker is sending it now.",
    MessageStatus.DEFERRED: "It waits and will be sent later.",
    MessageStatus.SENT: "The relay accepted it.",
    MessageStatus.DELIVERED: "The receiving server accepted it.",
    MessageStatus.UNKNOWN: "It is unknown whether the relay accepted it.",
    MessageStatus.SKIPPED: "It was not sent.",
    MessageStatus.BOUNCED: "The address does not work.",
    MessageStatus.FAILED: "It could not be delivered.",
    MessageStatus.BLOCKED: "The receiver rejects the sender. The address is not suppressed.",
    MessageStatus.EXPIRED: "Its retries ended before it could be delivered.",
    MessageStatus.CANCELLED: "It was cancelled before it was sent.",
    MessageStatus.COMPLAINED: "The recipient marked it as spam.",
}
GUARDRAILS = {
    Guardrail.PAUSED: "Emergency stop",
    Guardrail.CONTACT: "Contact",
    Guardrail.ADDRESS: "Address",
    Guardrail.SUPPRESSION: "Suppression list",
    Guardrail.SUBSCRIPTION: "Opt-out and topic",
    Guardrail.FREQUENCY_CAP: "Frequency caps",
    Guardrail.SEND_TIME: "Quiet hours and send windows",
    Guardrail.SEND_LIMIT: "Daily limit",
    Guardrail.PACING: "Pace of relay and receiver",
}
#: Reasons for a message's state: from guardrails, relay replies and the sending loop.
REASONS = {
    "no_contact": "no contact has this address, so the recipient could not unsubscribe",
    "contact_deleted": "the contact was deleted",
    "contact_erased": "the contact was erased",
    "no_address": "there is no address",
    "no_device": "the contact has no device",
    "suppressed_hard_bounce": "the address bounced before",
    "suppressed_complaint": "the recipient complained before",
    "suppressed_manual": "the address was suppressed by an operator",
    "unsubscribed_all": "the contact opted out of everything",
    "unsubscribed_topic": "the contact is not subscribed to the topic",
    "no_topic": "marketing mail needs a topic",
    "frequency_cap": "the contact has reached the frequency cap",
    "missing_variable": "a variable of the template has no value",
    "gone": "its e-mail, topic or template version was deleted",
    "max_defer": "it would have waited too long",
    "sending_paused": "sending is stopped",
    "frequency_cap_wait": "the contact has reached the frequency cap for now",
    "quiet_hours": "quiet hours of the contact",
    "send_window": "outside the send windows",
    "send_limit": "the daily limit is reached",
    "domain_throttled": "the receiver is rate-limited",
    "relay_down": "the relay does not work",
    "relay_unavailable": "the relay could not be reached",
    "relay_auth": "the relay rejected user or password",
    "deferred": "the server asked to try later",
    "throttled": "the server asked to send more slowly",
    "mailbox_full": "the mailbox is full",
    "address_bad": "there is no such address",
    "domain_bad": "the domain of the address accepts no mail",
    "too_large": "the mail is too large",
    "content_refused": "the server rejected the content",
    "sender_refused": "the server rejected the sender",
    "protocol": "the server violated the protocol",
    "unknown": "the connection ended after the mail and before the response",
    "retry": "it will be retried because an operator asked for it",
    "settled": "an operator said that it was not sent",
    "cancelled_by": "it was cancelled",
    "domain_not_verified": "the sending domain is not verified",
    "compose": "the mail could not be composed",
    "poison": "several workers died while they sent it",
}
VERDICT_REASONS = {
    "prefetch_proxy": "loaded ahead by a privacy proxy",
    "head_request": "asked only for headers",
    "honeypot": "followed the hidden link",
    "burst": "many requests at once from one address",
    "too_early": "before the mail had arrived",
    "declared_bot": "identifies itself as a program",
    "scanner_network": "from a network that scans mail",
    "google_image_proxy": "through Google's image proxy",
    "yahoo_mail_proxy": "through Yahoo's image proxy",
}


def reason_words(reason: str | None) -> str:
    """A reason as the rest of a sentence; an unknown one unchanged."""
    return "" if reason is None else REASONS.get(reason, reason.replace("_", " "))
