"""The history on a message's page, derived from its stored rows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.backoffice.messages.summary import checks_of, steps_of
from headrace.backoffice.messages.words import VERDICT_REASONS
from headrace.domain.messages.guardrails import Guardrail, Reason
from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus, VerdictReason
from headrace.pipeline.messages.message_trace import MessageTrace, trace_of
from headrace.store.contract.messages import AttemptRecord, Message
from headrace.store.messages.sending.message_lists import MessageDetail

_EMPTY: dict[str, Any] = dict.fromkeys(Message.__struct_fields__)


def trace(*attempts: AttemptRecord, **changes: Any) -> MessageTrace:
    values = _EMPTY | {
        "id": "m",
        "project_id": 1,
        "channel": Channel.MAIL,
        "kind": MessageKind.MARKETING,
        "role": "to",
        "state": MessageStatus.QUEUED,
        "attempt": len(attempts),
        "created_us": 1,
    }
    message = Message(**values | changes)
    return trace_of(MessageDetail(message=message, content=None, attempts=attempts, engagement=()))


def attempt(outcome: str | None, **changes: Any) -> AttemptRecord:
    values: dict[str, Any] = dict.fromkeys(AttemptRecord.__struct_fields__)
    values |= {"number": 1, "relay": "mx.example:25", "started_us": 2, "ended_us": 3}
    return AttemptRecord(**values | {"outcome": outcome} | changes)


def test_every_reason_of_a_hit_has_words() -> None:
    assert set(VERDICT_REASONS) == {each.value for each in VerdictReason}


def test_the_reply_of_the_server_is_shown() -> None:
    refused = attempt(
        "address_bad", code=550, status="5.1.1", phase="rcpt", diagnostic="no such user"
    )
    steps = steps_of(trace(refused, state=MessageStatus.BOUNCED, reason="address_bad"))
    assert [step.severity for step in steps] == ["info", "good", "warn", "bad"]
    why = "the server says that the address does not exist"
    said = f"Attempt 1 through mx.example:25: {why}. Reply: 550 5.1.1."
    assert (steps[2].text, steps[2].detail) == (said, "no such user")
    assert steps[3].text == "It bounced: the server says that the address does not exist."


def test_without_an_answer_the_phase_is_told() -> None:
    steps = steps_of(trace(attempt("relay_unavailable", phase="connect")))
    assert "(connect)" in steps[2].text
    assert "under way" in steps_of(trace(attempt(None)))[2].text


def test_what_was_not_composed_says_why() -> None:
    skipped = trace(state=MessageStatus.SKIPPED, reason="missing_variable", rule="order_id")
    steps = steps_of(skipped)
    assert steps[1].text == "Not composed: the template needs a value that is missing: order_id."
    assert {check.verdict for check in checks_of(skipped)} == {""}


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.GONE, Reason.MISSING_VARIABLE}))
def test_a_guardrail_that_stopped_a_message_is_named(reason: Reason) -> None:
    checks = checks_of(trace(state=MessageStatus.SKIPPED, reason=reason.value))
    verdicts = [check.verdict for check in checks]
    stopped = verdicts.index("skip")
    assert verdicts[:stopped] == ["pass"] * stopped
    assert set(verdicts[stopped + 1 :]) <= {""}
    assert len(checks) == len(Guardrail)


def test_a_wait_that_is_too_long_is_that_of_its_guardrail() -> None:
    checks = checks_of(
        trace(state=MessageStatus.SKIPPED, reason="max_defer", rule="send_limit: longer than 72 h")
    )
    assert [check.name for check in checks if check.verdict == "skip"] == ["Daily limit"]


def test_what_was_handed_over_passed_everything() -> None:
    checks = checks_of(trace(attempt("sent"), state=MessageStatus.SENT))
    assert [check.verdict for check in checks] == ["pass"] * len(Guardrail)
