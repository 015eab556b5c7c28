"""The history of a message: its steps in order, and the result of each guardrail."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headrace.backoffice.messages.words import GUARDRAILS, STATUSES, reason_words
from headrace.domain.messages.guardrails import Decision, Guardrail, Reason, Verdict
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.contract.messages import AttemptRecord, Message
from headrace.store.messages.sending.message_lists import MessageDetail

_GUARDRAIL_OF = {
    Reason.SENDING_PAUSED: Guardrail.PAUSED,
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
    Reason.DOMAIN_THROTTLED: Guardrail.PACING,
    Reason.RELAY_DOWN: Guardrail.PACING,
}
_DECISIONS = {Decision.PASS: "pass", Decision.SKIP: "skip", Decision.DEFER: "wait"}
#: Final states of composing, before anything is handed over.
_NOT_COMPOSED = frozenset({"missing_variable", "compose", "domain_not_verified", "gone"})
_GOOD = frozenset({MessageStatus.SENT, MessageStatus.DELIVERED})
_BAD = frozenset(
    {MessageStatus.BOUNCED, MessageStatus.FAILED, MessageStatus.BLOCKED, MessageStatus.COMPLAINED}
)
_OPEN = frozenset({MessageStatus.QUEUED, MessageStatus.SENDING})


class Step(msgspec.Struct, frozen=True):
    """One step; `severity` is good, info, warn, bad or quiet."""

    severity: str
    #: None: time unknown.
    at_us: int | None
    text: str
    #: The server's reply; empty: none.
    detail: str = ""


class Check(msgspec.Struct, frozen=True):
    """The result of one guardrail."""

    name: str
    #: pass, skip, wait; empty: not reached.
    verdict: str
    reason: str = ""
    rule: str = ""
    until_us: int | None = None


def severity_of(status: MessageStatus) -> str:
    """Severity of a status."""
    if status in _GOOD:
        return "good"
    if status in _BAD:
        return "bad"
    return "info" if status in _OPEN else "warn"


def steps_of(detail: MessageDetail) -> list[Step]:
    """The history of a message, oldest first. Pure."""
    message = detail.message
    source = f"step {message.step_key} of an automation" if message.step_key else "a request"
    steps = [Step("info", message.created_us, f"Created by {source}.")]
    composed = _composed(message, detail.attempts)
    if composed is not None:
        steps.append(composed)
    steps += [_attempted(each) for each in detail.attempts]
    steps.append(_outcome(message))
    return steps


def _composed(message: Message, attempts: Sequence[AttemptRecord]) -> Step | None:
    if message.subject is not None or attempts:
        at_us = attempts[0].started_us if attempts else None
        return Step("good", at_us, "Composed; all checks passed.")
    if message.reason in _NOT_COMPOSED:
        why = ": ".join(filter(None, (reason_words(message.reason), message.rule)))
        return Step("bad", message.finished_us, f"Not composed: {why}.")
    return None


def _attempted(attempt: AttemptRecord) -> Step:
    through = f"Attempt {attempt.number} through {attempt.relay.removesuffix(':')}"
    if attempt.outcome is None:
        return Step("info", attempt.started_us, f"{through}: under way.")
    said = " ".join(str(part) for part in (attempt.code, attempt.status) if part is not None)
    reply = f" Reply: {said}." if said else ""
    if attempt.outcome == "sent":
        text = f"{through}: accepted.{reply}"
        return Step("good", attempt.ended_us, text, attempt.diagnostic or "")
    at = f" ({attempt.phase})" if attempt.phase and not said else ""
    text = f"{through}: {reason_words(attempt.outcome)}{at}.{reply}"
    return Step("warn", attempt.ended_us, text, attempt.diagnostic or "")


def _outcome(message: Message) -> Step:
    text = STATUSES[message.state]
    if message.state is MessageStatus.SKIPPED and message.reason:
        text = f"Not sent: {reason_words(message.reason)}."
    elif message.reason and message.state not in _GOOD:
        text = f"{text} Reason: {reason_words(message.reason)}."
    if message.rule and message.reason not in _NOT_COMPOSED:
        text = f"{text} Rule: {message.rule}."
    return Step(severity_of(message.state), message.finished_us or message.sent_us, text)


def checks_of(detail: MessageDetail) -> list[Check]:
    """Every guardrail in order: current for a waiting message, else as recorded. Pure."""
    if detail.guardrails:
        return _filled([_check(each) for each in detail.guardrails])
    message = detail.message
    decided = _decided(message)
    if decided is not None:
        guardrail, reason = decided
        before = [_passed(each) for each in Guardrail][: list(Guardrail).index(guardrail)]
        verdict = "wait" if message.state is MessageStatus.DEFERRED else "skip"
        shown = Check(
            GUARDRAILS[guardrail], verdict, reason_words(reason), message.rule or "", message.due_us
        )
        return _filled([*before, shown])
    if message.attempt > 0:
        return [_passed(each) for each in Guardrail]
    return _filled([])


def _decided(message: Message) -> tuple[Guardrail, str] | None:
    """The guardrail that stopped a message, and its reason."""
    reason = message.reason or ""
    # When a wait would be too long, the rule holds the reason of the wait.
    cause = (message.rule or "").partition(":")[0] if reason == Reason.MAX_DEFER else reason
    found = next((guard for each, guard in _GUARDRAIL_OF.items() if each == cause), None)
    if found is None and reason == Reason.MAX_DEFER:
        found = Guardrail.SEND_TIME
    return None if found is None else (found, reason)


def _check(verdict: Verdict) -> Check:
    return Check(
        GUARDRAILS[verdict.guardrail],
        _DECISIONS[verdict.decision],
        reason_words(verdict.reason),
        verdict.rule,
        verdict.until_us,
    )


def _passed(guardrail: Guardrail) -> Check:
    return Check(GUARDRAILS[guardrail], "pass")


def _filled(checks: list[Check]) -> list[Check]:
    """The results with those guardrails added that were not reached."""
    rest = list(Guardrail)[len(checks) :]
    return [*checks, *(Check(GUARDRAILS[each], "") for each in rest)]
