"""Reasons of decisions: a closed list of codes, each with its sentence."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from headrace.domain.automations.filters.evaluation import Evidence


class RunReason(StrEnum):
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
    OVERDUE = "overdue"

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
    MIGRATED = "migrated"
    NOTHING_TO_DO = "nothing_to_do"


#: The sentence for each reason of a start, skip, defer or end.
_SENTENCES: dict[RunReason, str] = {
    RunReason.STARTED: "The event started a run.",
    RunReason.FILTER_NOT_MET: "The event did not match the filters of the trigger",
    RunReason.NOT_ACTIVE: "The automation was not active.",
    RunReason.PAUSED: "The automation was paused.",
    RunReason.TOO_OLD: "The event was too old when it was received.",
    RunReason.IMPORTED: "The event was imported, and imported events do not begin runs.",
    RunReason.NO_CONTACT: "The event belongs to no contact.",
    RunReason.REENTRY_ONCE: "The contact has already run this automation, which is allowed once.",
    RunReason.REENTRY_ACTIVE: "A run of this contact is still open.",
    RunReason.REENTRY_COOLDOWN: "The last run of this contact started too recently.",
    RunReason.START_LIMIT: "The start limit was reached, and the event waited too long.",
    RunReason.TOO_MANY_OPEN: "The contact has the maximum number of open runs.",
    RunReason.LOOP: "The event was caused by a chain of automations that is too long.",
    RunReason.ERASED: "The contact is being erased.",
    RunReason.SUPPRESSED_HARD_BOUNCE: "Skipped: mail to this address has bounced.",
    RunReason.SUPPRESSED_COMPLAINT: "Skipped: the recipient has complained.",
    RunReason.SUPPRESSED_MANUAL: "Skipped: an operator has suppressed the address.",
    RunReason.UNSUBSCRIBED_TOPIC: "Skipped: the contact is not subscribed to the topic.",
    RunReason.UNSUBSCRIBED_ALL: "Skipped: the contact has opted out of everything.",
    RunReason.NO_ADDRESS: "Skipped: the contact has no e-mail address.",
    RunReason.NO_DEVICE: "Skipped: the contact has no device that takes push messages.",
    RunReason.FREQUENCY_CAP: "Skipped: the contact has reached the frequency cap.",
    RunReason.OWN_CHOICE: "Skipped: the contact has unsubscribed.",
    RunReason.ALREADY_SO: "Skipped: nothing to change.",
    RunReason.GONE: "Skipped: an object that the step refers to was deleted.",
    RunReason.MISSING_VARIABLE: "Skipped: a required value is missing.",
    RunReason.MAX_DEFER: "Skipped: the message was deferred for too long.",
    RunReason.OVERDUE: "Skipped: it was overdue when the automation was resumed.",
    RunReason.QUIET_HOURS: "Deferred to the end of the quiet hours.",
    RunReason.SEND_WINDOW: "Deferred to the next send window.",
    RunReason.FREQUENCY_CAP_WAIT: "Deferred until the frequency cap allows it.",
    RunReason.SEND_LIMIT: "Deferred: the project has reached its sending limit.",
    RunReason.WAIT_LIMIT: "Deferred: the project has reached its limit of waiting runs.",
    RunReason.DOMAIN_THROTTLED: "Deferred: the receiving domain is rate-limited.",
    RunReason.RELAY_DOWN: "Deferred: the relay is unreachable.",
    RunReason.PAUSED_HOLD: "Deferred: the automation is paused.",
    RunReason.SENDING_PAUSED: "Deferred: sending is paused.",
    RunReason.END_OF_BRANCH: "The run reached the end of its branch.",
    RunReason.EXIT_RULE: "The run was ended by an exit rule.",
    RunReason.CANCELLED_BY: "The run was cancelled.",
    RunReason.CONTACT_DELETED: "The run was cancelled, because the contact was deleted.",
    RunReason.CONTACT_ERASED: "The run was cancelled, because the contact was erased.",
    RunReason.STEP_FAILED: "The run failed at this step.",
    RunReason.VERSION_RETIRED: "The run was cancelled together with its version.",
    RunReason.DELAY_BEGUN: "The delay began",
    RunReason.DELAY_ELAPSED: "The delay ended.",
    RunReason.DELAY_MOVED: "The contact changed, so the end of the delay moved",
    RunReason.DATE_PAST: "The time in the field was in the past.",
    RunReason.DATE_MISSING: "The field held no time.",
    RunReason.BRANCH_TAKEN: "The condition decided",
    RunReason.WAIT_BEGUN: "The wait began",
    RunReason.CORRELATION_MISSING: "The value to match is missing, so no event can match",
    RunReason.EVENT_RECEIVED: "The expected event arrived",
    RunReason.EVENT_IGNORED: "The event did not resume the step",
    RunReason.EVENT_LATE: "The event arrived after the deadline and had no effect",
    RunReason.EXIT_PENDING: "An exit rule matches; it applies after the earlier timer",
    RunReason.TIMED_OUT: "No matching event was received before the deadline",
    RunReason.TIMER_HELD: "The timer waits for earlier events that are not processed yet",
    RunReason.MESSAGE_QUEUED: "The message was handed to the outbox.",
    RunReason.MESSAGE_SENT: "The message was sent.",
    RunReason.MESSAGE_FAILED: "The message could not be sent",
    RunReason.CONTACT_CHANGED: "The contact was changed",
    RunReason.AUDIENCE_ENTERED: "The contact was added to the audience.",
    RunReason.AUDIENCE_EXITED: "The contact was removed from the audience.",
    RunReason.TOPIC_CHANGED: "The subscription to the topic was changed.",
    RunReason.EVENT_EMITTED: "The event was emitted",
    RunReason.RETRIED: "The run was retried at this step.",
    RunReason.MIGRATED: "The run was moved to another version",
    RunReason.NOTHING_TO_DO: "There was nothing to do",
}


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was decided, and why."""

    reason: RunReason
    #: In plain English, without values of events or contacts.
    sentence: str
    at_us: int
    step_key: str | None = None
    evidence: Evidence | None = None


def explain(
    reason: RunReason,
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
