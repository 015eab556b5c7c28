"""Reasons of decisions: a closed list of codes, each with its sentence."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.filters.evaluation import Evidence


class Reason(StrEnum):
    """Codes are stored and shown; they are never renamed."""

    # Starts.
    STARTED = "started"
    FILTER_NOT_MET = "filter_not_met"
    NOT_ACTIVE = "not_active"
    PAUSED = "paused"
    TOO_OLD = "too_old"
    IMPORTED = "imported"
    NO_CONTACT = "no_contact"
    REENTRY_ONCE = "reentry_once"
    REENTRY_ACTIVE = "reentry_active"
    REENTRY_COOLDOWN = "reentry_cooldown"
    START_LIMIT = "start_limit"
    TOO_MANY_OPEN = "too_many_open"
    LOOP = "loop"
    ERASED = "erased"

    # Skips.
    SUPPRESSED_HARD_BOUNCE = "suppressed_hard_bounce"
    SUPPRESSED_COMPLAINT = "suppressed_complaint"
    SUPPRESSED_MANUAL = "suppressed_manual"
    UNSUBSCRIBED_TOPIC = "unsubscribed_topic"
    UNSUBSCRIBED_ALL = "unsubscribed_all"
    NO_ADDRESS = "no_address"
    NO_DEVICE = "no_device"
    FREQUENCY_CAP = "frequency_cap"
    OWN_CHOICE = "own_choice"
    ALREADY_SO = "already_so"
    GONE = "gone"
    MISSING_VARIABLE = "missing_variable"
    MAX_DEFER = "max_defer"

    # Defers.
    QUIET_HOURS = "quiet_hours"
    SEND_WINDOW = "send_window"
    FREQUENCY_CAP_WAIT = "frequency_cap_wait"
    SEND_LIMIT = "send_limit"
    WAIT_LIMIT = "wait_limit"
    DOMAIN_THROTTLED = "domain_throttled"
    RELAY_DOWN = "relay_down"
    PAUSED_HOLD = "paused_hold"
    SENDING_PAUSED = "sending_paused"

    # Ends.
    END_OF_BRANCH = "end_of_branch"
    EXIT_RULE = "exit_rule"
    CANCELLED_BY = "cancelled_by"
    CONTACT_DELETED = "contact_deleted"
    CONTACT_ERASED = "contact_erased"
    STEP_FAILED = "step_failed"
    VERSION_RETIRED = "version_retired"

    # Steps on the way.
    DELAY_BEGUN = "delay_begun"
    DELAY_ELAPSED = "delay_elapsed"
    DELAY_MOVED = "delay_moved"
    DATE_PAST = "date_past"
    DATE_MISSING = "date_missing"
    BRANCH_TAKEN = "branch_taken"
    WAIT_BEGUN = "wait_begun"
    CORRELATION_MISSING = "correlation_missing"
    EVENT_RECEIVED = "event_received"
    EVENT_IGNORED = "event_ignored"
    EVENT_LATE = "event_late"
    EXIT_PENDING = "exit_pending"
    TIMED_OUT = "timed_out"
    TIMER_HELD = "timer_held"
    MESSAGE_QUEUED = "message_queued"
    MESSAGE_SENT = "message_sent"
    MESSAGE_FAILED = "message_failed"
    CONTACT_CHANGED = "contact_changed"
    AUDIENCE_ENTERED = "audience_entered"
    AUDIENCE_EXITED = "audience_exited"
    TOPIC_CHANGED = "topic_changed"
    EVENT_EMITTED = "event_emitted"
    RETRIED = "retried"
    NOTHING_TO_DO = "nothing_to_do"


#: The sentence for each reason of a start, skip, defer or end.
_SENTENCES: dict[Reason, str] = {
    Reason.STARTED: "The event started a run.",
    Reason.FILTER_NOT_MET: "The event did not match the filters of the trigger",
    Reason.NOT_ACTIVE: "The automation was not active.",
    Reason.PAUSED: "The automation was paused.",
    Reason.TOO_OLD: "The event was too old when it was received.",
    Reason.IMPORTED: "The event was imported, and imported events do not begin runs.",
    Reason.NO_CONTACT: "The event belongs to no contact.",
    Reason.REENTRY_ONCE: "The contact has already run this automation, which is allowed once.",
    Reason.REENTRY_ACTIVE: "A run of this contact is still open.",
    Reason.REENTRY_COOLDOWN: "The last run of this contact started too recently.",
    Reason.START_LIMIT: "The start limit was reached, and the event waited too long.",
    Reason.TOO_MANY_OPEN: "The contact has the maximum number of open runs.",
    Reason.LOOP: "The event was caused by a chain of automations that is too long.",
    Reason.ERASED: "The contact is being erased.",
    Reason.SUPPRESSED_HARD_BOUNCE: "Skipped: mail to this address has bounced.",
    Reason.SUPPRESSED_COMPLAINT: "Skipped: the recipient has complained.",
    Reason.SUPPRESSED_MANUAL: "Skipped: an operator has suppressed the address.",
    Reason.UNSUBSCRIBED_TOPIC: "Skipped: the contact is not subscribed to the topic.",
    Reason.UNSUBSCRIBED_ALL: "Skipped: the contact has opted out of everything.",
    Reason.NO_ADDRESS: "Skipped: the contact has no e-mail address.",
    Reason.NO_DEVICE: "Skipped: the contact has no device that takes push messages.",
    Reason.FREQUENCY_CAP: "Skipped: the contact has reached the frequency cap.",
    Reason.OWN_CHOICE: "Skipped: the contact has unsubscribed.",
    Reason.ALREADY_SO: "Skipped: nothing to change.",
    Reason.GONE: "Skipped: an object that the step refers to was deleted.",
    Reason.MISSING_VARIABLE: "Skipped: a required value is missing.",
    Reason.MAX_DEFER: "Skipped: the message was deferred for too long.",
    Reason.QUIET_HOURS: "Deferred to the end of the quiet hours.",
    Reason.SEND_WINDOW: "Deferred to the next send window.",
    Reason.FREQUENCY_CAP_WAIT: "Deferred until the frequency cap allows it.",
    Reason.SEND_LIMIT: "Deferred: the project has reached its sending limit.",
    Reason.WAIT_LIMIT: "Deferred: the project has reached its limit of waiting runs.",
    Reason.DOMAIN_THROTTLED: "Deferred: the receiving domain is rate-limited.",
    Reason.RELAY_DOWN: "Deferred: the relay is unreachable.",
    Reason.PAUSED_HOLD: "Deferred: the automation is paused.",
    Reason.SENDING_PAUSED: "Deferred: sending is paused.",
    Reason.END_OF_BRANCH: "The run reached the end of its branch.",
    Reason.EXIT_RULE: "The run was ended by an exit rule.",
    Reason.CANCELLED_BY: "The run was cancelled.",
    Reason.CONTACT_DELETED: "The run was cancelled, because the contact was deleted.",
    Reason.CONTACT_ERASED: "The run was cancelled, because the contact was erased.",
    Reason.STEP_FAILED: "The run failed at this step.",
    Reason.VERSION_RETIRED: "The run was cancelled together with its version.",
    Reason.DELAY_BEGUN: "The delay began",
    Reason.DELAY_ELAPSED: "The delay ended.",
    Reason.DELAY_MOVED: "The contact changed, so the end of the delay moved",
    Reason.DATE_PAST: "The time in the field was in the past.",
    Reason.DATE_MISSING: "The field held no time.",
    Reason.BRANCH_TAKEN: "The condition decided",
    Reason.WAIT_BEGUN: "The wait began",
    Reason.CORRELATION_MISSING: "The value to match is missing, so no event can match",
    Reason.EVENT_RECEIVED: "The expected event arrived",
    Reason.EVENT_IGNORED: "The event did not resume the step",
    Reason.EVENT_LATE: "The event arrived after the deadline and had no effect",
    Reason.EXIT_PENDING: "An exit rule matches; it applies after the earlier timer",
    Reason.TIMED_OUT: "No matching event was received before the deadline",
    Reason.TIMER_HELD: "The timer waits for earlier events that are not processed yet",
    Reason.MESSAGE_QUEUED: "The message was handed to the outbox.",
    Reason.MESSAGE_SENT: "The message was sent.",
    Reason.MESSAGE_FAILED: "The message could not be sent",
    Reason.CONTACT_CHANGED: "The contact was changed",
    Reason.AUDIENCE_ENTERED: "The contact was added to the audience.",
    Reason.AUDIENCE_EXITED: "The contact was removed from the audience.",
    Reason.TOPIC_CHANGED: "The subscription to the topic was changed.",
    Reason.EVENT_EMITTED: "The event was emitted",
    Reason.RETRIED: "The run was retried at this step.",
    Reason.NOTHING_TO_DO: "There was nothing to do",
}


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was decided, and why."""

    reason: Reason
    #: In plain English, without values of events or contacts.
    sentence: str
    at_us: int
    step_key: str | None = None
    evidence: Evidence | None = None


def explain(
    reason: Reason,
    at_us: int,
    step_key: str | None = None,
    *,
    detail: str = "",
    evidence: Evidence | None = None,
) -> Note:
    """Describe a decision.

    Args:
        reason: why.
        at_us: the moment it is about.
        step_key: where.
        detail: text after the reason's own sentence, without a full stop.
        evidence: the comparison that decided; used instead of a detail.
    """
    if evidence is not None and not detail:
        detail = evidence.sentence
    base = _SENTENCES[reason]
    sentence = f"{base.rstrip('.')}: {detail}." if detail else f"{base.rstrip('.')}."
    return Note(reason=reason, sentence=sentence, at_us=at_us, step_key=step_key, evidence=evidence)
