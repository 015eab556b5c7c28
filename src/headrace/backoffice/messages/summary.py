"""The history of a message: its steps in order, and the result of each guardrail."""

from __future__ import annotations

import msgspec

from headrace.domain.messages.explanations import GUARDRAIL_NAMES, reason_words
from headrace.domain.messages.guardrails import Decision, Guardrail, Verdict
from headrace.domain.messages.kinds import MessageStatus
from headrace.pipeline.messages.message_trace import Composing, MessageTrace
from headrace.store.contract.messages import AttemptRecord

_DECISIONS = {Decision.PASS: "pass", Decision.SKIP: "skip", Decision.DEFER: "wait"}
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


def steps_of(trace: MessageTrace) -> list[Step]:
    """The history of a message, oldest first. Pure."""
    message, attempts = trace.detail.message, trace.detail.attempts
    source = f"step {message.step_key} of an automation" if message.step_key else "a request"
    steps = [Step("info", message.created_us, f"Created by {source}.")]
    if trace.composing is Composing.FAILED:
        why = ": ".join(filter(None, (reason_words(message.reason), message.rule)))
        steps.append(Step("bad", message.finished_us, f"Not composed: {why}."))
    elif message.subject is not None or attempts:
        at_us = attempts[0].started_us if attempts else None
        steps.append(Step("good", at_us, "Composed; all checks passed."))
    steps += [_attempted(each) for each in attempts]
    at_us = message.finished_us or message.sent_us
    steps.append(Step(severity_of(message.state), at_us, trace.explanation))
    return steps


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


def checks_of(trace: MessageTrace) -> list[Check]:
    """Every guardrail in order; those that were not reached have no verdict. Pure."""
    checks = [_check(each) for each in trace.guardrails]
    rest = list(Guardrail)[len(checks) :]
    return [*checks, *(Check(GUARDRAIL_NAMES[each], "") for each in rest)]


def _check(verdict: Verdict) -> Check:
    return Check(
        GUARDRAIL_NAMES[verdict.guardrail],
        _DECISIONS[verdict.decision],
        reason_words(verdict.reason),
        verdict.rule,
        verdict.until_us,
    )
