"""The history on a message's page, derived from its stored rows."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.backoffice.messages.summary import checks_of, steps_of
from headrace.backoffice.messages.words import (
    GUARDRAILS,
    REASONS,
    STATUSES,
    VERDICT_REASONS,
    reason_words,
)
from headrace.domain.messages.guardrails import Guardrail, Reason
from headrace.domain.messages.kinds import Channel, MessageKind, MessageStatus, VerdictReason
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import AttemptRecord, Message
from headrace.store.messages.sending.message_lists import MessageDetail

_EMPTY: dict[str, Any] = dict.fromkeys(Message.__struct_fields__)


def detail(*attempts: AttemptRecord, **changes: Any) -> MessageDetail:
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
    return MessageDetail(message=message, content=None, attempts=attempts, engagement=())


def attempt(outcome: str | None, **changes: Any) -> AttemptRecord:
    values: dict[str, Any] = dict.fromkeys(AttemptRecord.__struct_fields__)
    values |= {"number": 1, "relay": "mx.example:25", "started_us": 2, "ended_us": 3}
    return AttemptRecord(**values | {"outcome": outcome} | changes)


def test_every_value_of_the_closed_lists_has_words() -> None:
    assert set(STATUSES) == set(MessageStatus)
    assert set(GUARDRAILS) == set(Guardrail)
    known = {each.value for each in Reason} | {each.value for each in ReplyClass} - {"sent"}
    assert known <= set(REASONS)
    assert set(VERDICT_REASONS) == {each.value for each in VerdictReason}
    assert reason_words("something_new") == "something new"
    assert reason_words(None) == ""


def test_the_reply_of_the_server_is_shown() -> None:
    refused = attempt(
        "address_bad", code=550, status="5.1.1", phase="rcpt", diagnostic="no such user"
    )
    steps = steps_of(detail(refused, state=MessageStatus.BOUNCED, reason="address_bad"))
    assert [step.severity for step in steps] == ["info", "good", "warn", "bad"]
    said = "Attempt 1 through mx.example:25: there is no such address. Reply: 550 5.1.1."
    assert (steps[2].text, steps[2].detail) == (said, "no such user")
    assert steps[3].text == "The address does not work. Reason: there is no such address."


def test_without_a_reply_the_phase_is_shown() -> None:
    steps = steps_of(detail(attempt("relay_unavailable", phase="connect")))
    assert "(connect)" in steps[2].text
    assert "under way" in steps_of(detail(attempt(None)))[2].text


def test_what_was_not_composed_says_why() -> None:
    skipped = detail(state=MessageStatus.SKIPPED, reason="missing_variable", rule="order_id")
    steps = steps_of(skipped)
    assert steps[1].text == "Not composed: a variable of the template has no value: order_id."
    assert {check.verdict for check in checks_of(skipped)} == {""}


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.GONE, Reason.MISSING_VARIABLE}))
def test_a_guardrail_that_stopped_a_message_is_named(reason: Reason) -> None:
    checks = checks_of(detail(state=MessageStatus.SKIPPED, reason=reason.value))
    verdicts = [check.verdict for check in checks]
    stopped = verdicts.index("skip")
    assert verdicts[:stopped] == ["pass"] * stopped
    assert set(verdicts[stopped + 1 :]) <= {""}
    assert len(checks) == len(Guardrail)


def test_a_wait_that_is_too_long_is_that_of_its_guardrail() -> None:
    checks = checks_of(
        detail(state=MessageStatus.SKIPPED, reason="max_defer", rule="send_limit: longer than 72 h")
    )
    assert [check.name for check in checks if check.verdict == "skip"] == ["Daily limit"]


def test_what_was_handed_over_passed_everything() -> None:
    checks = checks_of(detail(attempt("sent"), state=MessageStatus.SENT))
    assert [check.verdict for check in checks] == ["pass"] * len(Guardrail)
