"""Decides whether a message may be sent now, and if not, why and until when.

Checked when a message is made and again right before it is sent. A verdict is an outcome, never an
error. The store reads the facts; everything here is computed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from headrace.domain.messages.kinds import (
    Channel,
    MessageKind,
    SuppressionReason,
    SuppressionScope,
)
from headrace.domain.messages.send_times import (
    choose_zone,
    first_allowed_us,
    next_midnight_us,
)
from headrace.domain.messages.sending_policies import FrequencyCap, OnCap, SendingPolicies
from headrace.domain.messages.warm_up import WarmUp

#: Messages that wait for the same moment are spread over this time after it.
SPREAD_US = 15 * 60 * 1_000_000


class Guardrail(StrEnum):
    """In the order in which they are checked."""

    PAUSED = "paused"
    CONTACT = "contact"
    ADDRESS = "address"
    SUPPRESSION = "suppression"
    SUBSCRIPTION = "subscription"
    FREQUENCY_CAP = "frequency_cap"
    SEND_TIME = "send_time"
    SEND_LIMIT = "send_limit"
    WARM_UP = "warm_up"
    PACING = "pacing"


class Reason(StrEnum):
    """Why a message is skipped or waits; a closed list, stored with the message."""

    # Skipped.
    NO_CONTACT = "no_contact"
    CONTACT_DELETED = "contact_deleted"
    CONTACT_ERASED = "contact_erased"
    NO_ADDRESS = "no_address"
    NO_DEVICE = "no_device"
    SUPPRESSED_HARD_BOUNCE = "suppressed_hard_bounce"
    SUPPRESSED_COMPLAINT = "suppressed_complaint"
    SUPPRESSED_MANUAL = "suppressed_manual"
    UNSUBSCRIBED_ALL = "unsubscribed_all"
    UNSUBSCRIBED_TOPIC = "unsubscribed_topic"
    NO_TOPIC = "no_topic"
    FREQUENCY_CAP = "frequency_cap"
    MISSING_VARIABLE = "missing_variable"
    GONE = "gone"
    MAX_DEFER = "max_defer"
    OVERDUE = "overdue"
    # Deferred.
    SENDING_PAUSED = "sending_paused"
    PAUSED_HOLD = "paused_hold"
    FREQUENCY_CAP_WAIT = "frequency_cap_wait"
    QUIET_HOURS = "quiet_hours"
    SEND_WINDOW = "send_window"
    SEND_LIMIT = "send_limit"
    WARM_UP = "warm_up"
    DOMAIN_THROTTLED = "domain_throttled"
    RELAY_DOWN = "relay_down"
    RECEIVER_REJECTS = "receiver_rejects_sender"


class Decision(StrEnum):
    """Result of a guardrail."""

    PASS = "pass"  # noqa: S105 - a verdict
    SKIP = "skip"
    DEFER = "defer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Verdict of one guardrail about one message."""

    guardrail: Guardrail
    decision: Decision
    reason: Reason | None = None
    #: For `defer`: when to check again; None: when an operator ends the pause.
    until_us: int | None = None
    #: The rule that decided, in words: `at most 2 in 86400 s`.
    rule: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Suppression:
    """An entry of the suppression list for the address of the message."""

    reason: SuppressionReason
    scope: SuppressionScope


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known about a message and its recipient. Times are microseconds since 1970."""

    message_id: str
    channel: Channel
    kind: MessageKind
    #: Of the sender; None for push.
    sending_domain: str | None = None
    #: Whether the message was made for a contact; a direct send may have none.
    has_contact: bool = True
    contact_deleted: bool = False
    contact_erased: bool = False
    #: Whether there is an address or a subscribed device.
    has_address: bool = True
    suppressions: tuple[Suppression, ...] = ()
    unsubscribed_all: bool = False
    topic_id: str | None = None
    #: As in `GET /contacts/{id}/topics`: the topic's default without a choice.
    is_subscribed: bool = True
    #: For each rule of `frequency_caps`, in order: when the `max`-th newest message that counts for
    #: it was sent; None when there are fewer, or the rule does not apply to this message.
    cap_reached_us: tuple[int | None, ...] = ()
    #: Names of zones to try, best first: the contact's property, its device's.
    timezones: tuple[object, ...] = ()
    #: Messages of the channel sent today, in the project's zone.
    sent_today: int = 0
    #: The plan of the sending domain today; None without one, and for a retry: it was counted.
    warm_up: WarmUp | None = None
    #: When the receiver's group may get the next message; None or past: now.
    receiver_free_us: int | None = None
    #: While the receiver rejects the sending domain: when a message may probe, and its response.
    receiver_probe_us: int | None = None
    receiver_response: str = ""
    #: When the relay or service may be used again; None or past: now.
    relay_free_us: int | None = None
    #: Its automation is paused and holds its runs.
    automation_held: bool = False
    #: It waited for that, and its automation was resumed without late sends.
    is_overdue: bool = False
    #: When the message was first deferred by a guardrail; None: never.
    first_deferred_us: int | None = None


def judge(facts: Facts, policies: SendingPolicies, now_us: int) -> Verdict:
    """The verdict that counts: the first that is not `pass`, else the last."""
    return trace(facts, policies, now_us)[-1]


def trace(facts: Facts, policies: SendingPolicies, now_us: int) -> tuple[Verdict, ...]:
    """Verdicts in order, up to the first that is not `pass`."""
    verdicts: list[Verdict] = []
    for guardrail, check in _CHECKS:
        verdict = check(facts, policies, now_us) or _passed(guardrail)
        verdicts.append(_bounded(verdict, facts, policies, now_us))
        if verdict.decision is not Decision.PASS:
            break
    return tuple(verdicts)


def _passed(guardrail: Guardrail) -> Verdict:
    return Verdict(guardrail=guardrail, decision=Decision.PASS)


def _skip(guardrail: Guardrail, reason: Reason, rule: str = "") -> Verdict:
    return Verdict(guardrail=guardrail, decision=Decision.SKIP, reason=reason, rule=rule)


def _defer(guardrail: Guardrail, reason: Reason, until_us: int | None, rule: str = "") -> Verdict:
    return Verdict(
        guardrail=guardrail, decision=Decision.DEFER, reason=reason, until_us=until_us, rule=rule
    )


def _bounded(verdict: Verdict, facts: Facts, policies: SendingPolicies, now_us: int) -> Verdict:
    """A wait that would be too long becomes a skip now, except for the emergency stop."""
    if verdict.decision is not Decision.DEFER or verdict.until_us is None:
        return verdict
    since_us = now_us if facts.first_deferred_us is None else facts.first_deferred_us
    if verdict.until_us - since_us <= policies.max_defer_hours * 3_600_000_000:
        return verdict
    rule = f"{verdict.reason}: longer than {policies.max_defer_hours} h"
    return _skip(verdict.guardrail, Reason.MAX_DEFER, rule)


def _paused(facts: Facts, policies: SendingPolicies, _now_us: int) -> Verdict | None:
    if policies.sending_paused.covers(facts.channel, facts.sending_domain):
        return _defer(Guardrail.PAUSED, Reason.SENDING_PAUSED, None)
    if facts.automation_held:
        return _defer(Guardrail.PAUSED, Reason.PAUSED_HOLD, None)
    return _skip(Guardrail.PAUSED, Reason.OVERDUE) if facts.is_overdue else None


def _contact(facts: Facts, _policies: SendingPolicies, _now_us: int) -> Verdict | None:
    if facts.contact_erased:
        return _skip(Guardrail.CONTACT, Reason.CONTACT_ERASED)
    if facts.contact_deleted:
        return _skip(Guardrail.CONTACT, Reason.CONTACT_DELETED)
    if not facts.has_contact and facts.kind is MessageKind.MARKETING:
        # A recipient without an identity cannot unsubscribe.
        return _skip(Guardrail.CONTACT, Reason.NO_CONTACT)
    return None


def _address(facts: Facts, _policies: SendingPolicies, _now_us: int) -> Verdict | None:
    if facts.has_address:
        return None
    mail = facts.channel is Channel.MAIL
    return _skip(Guardrail.ADDRESS, Reason.NO_ADDRESS if mail else Reason.NO_DEVICE)


_SUPPRESSED = {
    SuppressionReason.HARD_BOUNCE: Reason.SUPPRESSED_HARD_BOUNCE,
    SuppressionReason.COMPLAINT: Reason.SUPPRESSED_COMPLAINT,
    SuppressionReason.MANUAL: Reason.SUPPRESSED_MANUAL,
}


def _suppression(facts: Facts, _policies: SendingPolicies, _now_us: int) -> Verdict | None:
    marketing = facts.kind is MessageKind.MARKETING
    for one in facts.suppressions:
        hard = one.reason is SuppressionReason.HARD_BOUNCE
        if hard or marketing or one.scope is SuppressionScope.ALL:
            rule = f"scope {one.scope}"
            return _skip(Guardrail.SUPPRESSION, _SUPPRESSED[one.reason], rule)
    return None


def _subscription(facts: Facts, policies: SendingPolicies, _now_us: int) -> Verdict | None:
    if facts.kind is not MessageKind.MARKETING:
        return None
    if facts.topic_id is None:
        # The user of a device chose to get pushes, and takes that back on the device.
        if facts.channel is Channel.MAIL and not policies.topicless_marketing:
            return _skip(Guardrail.SUBSCRIPTION, Reason.NO_TOPIC)
        opted_out = facts.unsubscribed_all
    else:
        # A contact that opted out of everything and then chose this topic is subscribed to it.
        opted_out = not facts.is_subscribed
    if not opted_out:
        return None
    everything = facts.unsubscribed_all
    reason = Reason.UNSUBSCRIBED_ALL if everything else Reason.UNSUBSCRIBED_TOPIC
    return _skip(Guardrail.SUBSCRIPTION, reason)


def _frequency(facts: Facts, policies: SendingPolicies, now_us: int) -> Verdict | None:
    if facts.kind is not MessageKind.MARKETING:
        return None
    waits: list[tuple[int, str]] = []
    for cap, reached_us in zip(policies.frequency_caps, facts.cap_reached_us, strict=False):
        if reached_us is None or not applies(cap, facts):
            continue
        free_us = reached_us + cap.per_seconds * 1_000_000
        if free_us <= now_us:
            continue
        rule = f"at most {cap.max} in {cap.per_seconds} s"
        if cap.on_cap is OnCap.SKIP:
            return _skip(Guardrail.FREQUENCY_CAP, Reason.FREQUENCY_CAP, rule)
        waits.append((free_us, rule))
    if not waits:
        return None
    until_us, rule = max(waits)
    return _defer(Guardrail.FREQUENCY_CAP, Reason.FREQUENCY_CAP_WAIT, until_us, rule)


def applies(cap: FrequencyCap, facts: Facts) -> bool:
    """Whether a rule applies to a message; the same test decides which messages count for it."""
    return (
        cap.channel is facts.channel
        and facts.kind in cap.kinds
        and cap.topic_id in {None, facts.topic_id}
    )


def _send_time(facts: Facts, policies: SendingPolicies, now_us: int) -> Verdict | None:
    if facts.kind is not MessageKind.MARKETING:
        return None
    rule = policies.quiet_hours
    quiet = None
    candidates = facts.timezones
    if rule is not None and facts.channel in rule.channels and facts.kind in rule.kinds:
        quiet = rule.hours
        if rule.timezone is not None:
            candidates = (rule.timezone,)
    zone = choose_zone(candidates, policies.default_timezone)
    windows = policies.send_windows
    until_us = first_allowed_us(now_us, zone, quiet, windows)
    if until_us == now_us:
        return None
    by_quiet = quiet is not None and first_allowed_us(now_us, zone, quiet, ()) != now_us
    reason = Reason.QUIET_HOURS if by_quiet else Reason.SEND_WINDOW
    if until_us is None:
        return _skip(Guardrail.SEND_TIME, Reason.MAX_DEFER, "no moment of the week is allowed")
    spread_us = _spread(facts.message_id, until_us)
    if first_allowed_us(spread_us, zone, quiet, windows) != spread_us:
        spread_us = until_us
    return _defer(Guardrail.SEND_TIME, reason, spread_us, f"in {zone.key}")


def _send_limit(facts: Facts, policies: SendingPolicies, now_us: int) -> Verdict | None:
    most = policies.send_limit_per_day.get(facts.channel)
    if most is None or facts.sent_today < most:
        return None
    zone = choose_zone((), policies.default_timezone)
    until_us = _spread(facts.message_id, next_midnight_us(now_us, zone))
    return _defer(Guardrail.SEND_LIMIT, Reason.SEND_LIMIT, until_us, f"{most} a day")


def _warm_up(facts: Facts, _policies: SendingPolicies, _now_us: int) -> Verdict | None:
    plan = facts.warm_up
    if plan is None or not plan.is_reached or facts.kind is not MessageKind.MARKETING:
        return None
    until_us = _spread(facts.message_id, plan.next_day_us)
    rule = f"{plan.ceiling} on day {plan.number} of {plan.days}"
    return _defer(Guardrail.WARM_UP, Reason.WARM_UP, until_us, rule)


def _pacing(facts: Facts, _policies: SendingPolicies, now_us: int) -> Verdict | None:
    for free_us, reason in (
        (facts.relay_free_us, Reason.RELAY_DOWN),
        (facts.receiver_free_us, Reason.DOMAIN_THROTTLED),
    ):
        if free_us is not None and free_us > now_us:
            return _defer(Guardrail.PACING, reason, free_us)
    probe_us = facts.receiver_probe_us
    if probe_us is not None and probe_us > now_us:
        # Spread: after the pause one message probes and the others wait for its result.
        until_us = _spread(facts.message_id, probe_us)
        return _defer(Guardrail.PACING, Reason.RECEIVER_REJECTS, until_us, facts.receiver_response)
    return None


def _spread(message_id: str, until_us: int) -> int:
    """Deterministic for a message, so that a repeated check gives the same time."""
    digest = blake2b(message_id.encode(), digest_size=8).digest()
    return until_us + int.from_bytes(digest, "big") % SPREAD_US


_Check = Callable[[Facts, SendingPolicies, int], Verdict | None]
_CHECKS: tuple[tuple[Guardrail, _Check], ...] = (
    (Guardrail.PAUSED, _paused),
    (Guardrail.CONTACT, _contact),
    (Guardrail.ADDRESS, _address),
    (Guardrail.SUPPRESSION, _suppression),
    (Guardrail.SUBSCRIPTION, _subscription),
    (Guardrail.FREQUENCY_CAP, _frequency),
    (Guardrail.SEND_TIME, _send_time),
    (Guardrail.SEND_LIMIT, _send_limit),
    (Guardrail.WARM_UP, _warm_up),
    (Guardrail.PACING, _pacing),
)


def caps_to_count(facts: Facts, policies: SendingPolicies) -> Iterator[tuple[int, FrequencyCap]]:
    """Rules for which the store has to read `cap_reached_us`, with their index in it."""
    if facts.kind is MessageKind.MARKETING:
        for index, cap in enumerate(policies.frequency_caps):
            if applies(cap, facts):
                yield index, cap
