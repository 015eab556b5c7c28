"""Why a message is where it is, in words: what each guardrail said, and what followed."""

from __future__ import annotations

from headrace.domain.messages.guardrails import Decision, Guardrail, Reason, Verdict
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass

#: The guardrail that gives each reason; what composing says is not among them.
GUARDRAIL_OF: dict[Reason | None, Guardrail] = {
    Reason.SENDING_PAUSED: Guardrail.PAUSED,
    Reason.PAUSED_HOLD: Guardrail.PAUSED,
    Reason.OVERDUE: Guardrail.PAUSED,
    Reason.NO_CONTACT: Guardrail.CONTACT,
    Reason.CONTACT_DELETED: Guardrail.CONTACT,
    Reason.CONTACT_ERASED: Guardrail.CONTACT,
    Reason.NO_ADDRESS: Guardrail.ADDRESS,
    Reason.NO_DEVICE: Guardrail.ADDRESS,
    Reason.SUPPRESSED_HARD_BOUNCE: Guardrail.SUPPRESSION,
    Reason.SUPPRESSED_COMPLAINT: Guardrail.SUPPRESSION,
    Reason.SUPPRESSED_MANUAL: Guardrail.SUPPRESSION,
    Reason.UNSUBSCRIBED_ALL: Guardrail.SUBSCRIPTION,
    Reason.UNSUBSCRIBED_TOPIC: Guardrail.SUBSCRIPTION,
    Reason.NO_TOPIC: Guardrail.SUBSCRIPTION,
    Reason.FREQUENCY_CAP: Guardrail.FREQUENCY_CAP,
    Reason.FREQUENCY_CAP_WAIT: Guardrail.FREQUENCY_CAP,
    Reason.QUIET_HOURS: Guardrail.SEND_TIME,
    Reason.SEND_WINDOW: Guardrail.SEND_TIME,
    Reason.SEND_LIMIT: Guardrail.SEND_LIMIT,
    Reason.WARM_UP: Guardrail.WARM_UP,
    Reason.DOMAIN_THROTTLED: Guardrail.PACING,
    Reason.RELAY_DOWN: Guardrail.PACING,
    Reason.RECEIVER_REJECTS: Guardrail.PACING,
}

#: Guardrails by the name that pages show.
GUARDRAIL_NAMES: dict[Guardrail, str] = {
    Guardrail.PAUSED: "Emergency stop",
    Guardrail.CONTACT: "Contact",
    Guardrail.ADDRESS: "Address",
    Guardrail.SUPPRESSION: "Suppression list",
    Guardrail.SUBSCRIPTION: "Opt-out and topic",
    Guardrail.FREQUENCY_CAP: "Frequency caps",
    Guardrail.SEND_TIME: "Quiet hours and send windows",
    Guardrail.SEND_LIMIT: "Daily limit",
    Guardrail.WARM_UP: "Warm-up of the domain",
    Guardrail.PACING: "Pace of relay and receiver",
}

_REASONS: dict[str, str] = {
    Reason.NO_CONTACT: "marketing mail needs a contact, so that the recipient can unsubscribe",
    Reason.CONTACT_DELETED: "the contact was deleted",
    Reason.CONTACT_ERASED: "the person was erased",
    Reason.NO_ADDRESS: "the contact has no address",
    Reason.NO_DEVICE: "the contact has no device with push enabled",
    Reason.SUPPRESSED_HARD_BOUNCE: "mail to the address bounced before",
    Reason.SUPPRESSED_COMPLAINT: "the recipient marked an earlier mail as spam",
    Reason.SUPPRESSED_MANUAL: "the address is on the suppression list",
    Reason.UNSUBSCRIBED_ALL: "the contact has unsubscribed from all mail",
    Reason.UNSUBSCRIBED_TOPIC: "the contact is not subscribed to the topic",
    Reason.NO_TOPIC: "marketing mail needs a topic",
    Reason.FREQUENCY_CAP: "the contact has reached a frequency cap",
    Reason.MISSING_VARIABLE: "the template needs a value that is missing",
    Reason.GONE: "its content was deleted",
    Reason.MAX_DEFER: "it would have had to wait longer than max_defer_hours",
    Reason.SENDING_PAUSED: "sending is paused",
    Reason.PAUSED_HOLD: "its automation is paused",
    "restored": "it was due before the store was restored from a backup, so it may have been sent",
    Reason.OVERDUE: "it was too late when its automation was resumed",
    Reason.FREQUENCY_CAP_WAIT: "a frequency cap delays it",
    Reason.QUIET_HOURS: "the contact has quiet hours",
    Reason.SEND_WINDOW: "no send window is open in the time zone of the contact",
    Reason.SEND_LIMIT: "the project has reached its daily limit",
    Reason.WARM_UP: "the sending domain has reached its warm-up limit of the day",
    Reason.DOMAIN_THROTTLED: "the receiving domain is throttled",
    Reason.RELAY_DOWN: "the relay is unavailable",
    Reason.RECEIVER_REJECTS: "the receiving domain rejects mail of the sending domain",
    ReplyClass.RELAY_UNAVAILABLE: "the relay was unavailable",
    ReplyClass.RELAY_AUTH: "the relay rejects user or password",
    ReplyClass.DEFERRED: "the server asked for a later try",
    ReplyClass.THROTTLED: "the server limits our sending rate",
    ReplyClass.MAILBOX_FULL: "the mailbox is full",
    ReplyClass.ADDRESS_BAD: "the server says that the address does not exist",
    ReplyClass.DOMAIN_BAD: "the domain of the address has no server",
    ReplyClass.TOO_LARGE: "the mail is too large",
    ReplyClass.CONTENT_REFUSED: "the server rejected the content",
    ReplyClass.SENDER_REFUSED: "the server rejected the sender, not the address",
    ReplyClass.PROTOCOL: "the server violated the protocol",
    ReplyClass.UNKNOWN: "the connection was lost after the mail was transmitted",
    "compose": "the mail could not be composed",
    "domain_not_verified": "the domain of the sender is not verified",
    "poison": "workers crashed while sending it",
    "settled": "set by a person",
    "retry": "a person requested another attempt",
    "cancelled_by": "it was cancelled",
    "bounced": "the mail bounced",
    "complained": "the recipient marked it as spam",
}

_STATES: dict[MessageStatus, str] = {
    MessageStatus.QUEUED: "It waits to be sent",
    MessageStatus.SENDING: "It is being sent",
    MessageStatus.DEFERRED: "It waits for a later time",
    MessageStatus.SENT: "The relay accepted it",
    MessageStatus.DELIVERED: "The receiving server accepted it",
    MessageStatus.UNKNOWN: "It is unknown whether the relay accepted it",
    MessageStatus.SKIPPED: "It was not sent",
    MessageStatus.BOUNCED: "It bounced",
    MessageStatus.FAILED: "It could not be sent",
    MessageStatus.BLOCKED: "It was rejected",
    MessageStatus.EXPIRED: "Its attempts expired",
    MessageStatus.CANCELLED: "It was cancelled",
    MessageStatus.COMPLAINED: "It arrived, and the recipient marked it as spam",
}
#: States that say by themselves what their usual reason says.
_SAID = frozenset({"bounced", "complained", "cancelled_by"})


def explain(state: MessageStatus, reason: str | None, rule: str | None) -> str:
    """One sentence for people: outcome of a message, with the reason.

    A reason that is not known here, of a later release, is shown as it is stored.
    """
    text = _STATES[state]
    if reason is not None and reason not in _SAID:
        text += f": {reason_words(reason)}"
        if rule:
            text += f" ({rule})"
    return f"{text}."


def reason_words(reason: str | None) -> str:
    """A reason as a clause; one of a later release as it is stored, none as empty text."""
    return "" if reason is None else _REASONS.get(reason, reason)


def said_at_the_end(reason: str | None, rule: str | None) -> tuple[Verdict, ...]:
    """What guardrails said of a message that one of them skipped, from what is stored of it.

    Those before the one that decided had let it pass, else they would have decided.

    Returns:
        Verdicts in order; none when no guardrail decided.
    """
    known = {one.value: one for one in Reason}
    given = known.get(reason or "")
    # The rule of a wait that would be too long begins with what it would have waited for.
    awaited = known.get((rule or "").partition(":")[0], Reason.SEND_WINDOW)
    decided = GUARDRAIL_OF.get(awaited if given is Reason.MAX_DEFER else given)
    if given is None or decided is None:
        return ()
    last = Verdict(guardrail=decided, decision=Decision.SKIP, reason=given, rule=rule or "")
    return (*_passed(before=decided), last)


def all_passed() -> tuple[Verdict, ...]:
    """What guardrails said of a message that was handed over."""
    return _passed(before=None)


def _passed(before: Guardrail | None) -> tuple[Verdict, ...]:
    verdicts: list[Verdict] = []
    for one in Guardrail:
        if one is before:
            break
        verdicts.append(Verdict(guardrail=one, decision=Decision.PASS))
    return tuple(verdicts)
