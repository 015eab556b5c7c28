"""Why a message has its status, in words, and what guardrails said of one that ended."""

from __future__ import annotations

import pytest

from headrace.domain.messages.explanations import GUARDRAIL_NAMES, explain, said_at_the_end
from headrace.domain.messages.guardrails import Decision, Guardrail, Reason
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass


@pytest.mark.parametrize("reason", [*Reason, *sorted(set(ReplyClass) - {ReplyClass.SENT})])
def test_every_reason_has_words(reason: str) -> None:
    text = explain(MessageStatus.SKIPPED, str(reason), None)
    assert text.startswith("It was not sent: ")
    assert str(reason) not in text.split()


def test_every_guardrail_has_a_name() -> None:
    assert set(GUARDRAIL_NAMES) == set(Guardrail)


def test_the_rule_is_shown_with_the_reason() -> None:
    text = explain(MessageStatus.DEFERRED, "quiet_hours", "in Europe/Vienna")
    assert text == "It waits for a later time: the contact has quiet hours (in Europe/Vienna)."
    assert explain(MessageStatus.SENT, None, None) == "The relay accepted it."
    assert explain(MessageStatus.FAILED, "of_a_later_release", "") == (
        "It could not be sent: of_a_later_release."
    )


@pytest.mark.parametrize(
    ("reason", "rule", "guardrail"),
    [
        ("no_contact", "", Guardrail.CONTACT),
        ("unsubscribed_topic", "", Guardrail.SUBSCRIPTION),
        ("frequency_cap", "at most 2 in 60 s", Guardrail.FREQUENCY_CAP),
        ("max_defer", "send_limit: longer than 72 h", Guardrail.SEND_LIMIT),
        ("max_defer", "no moment of the week is allowed", Guardrail.SEND_TIME),
    ],
)
def test_those_before_the_one_that_decided_passed(
    reason: str, rule: str, guardrail: Guardrail
) -> None:
    said = said_at_the_end(reason, rule)
    assert [one.guardrail for one in said] == list(Guardrail)[: len(said)]
    assert {one.decision for one in said[:-1]} <= {Decision.PASS}
    assert (said[-1].guardrail, said[-1].decision) == (guardrail, Decision.SKIP)
    assert said[-1].rule == rule


@pytest.mark.parametrize("reason", [None, "missing_variable", "gone", "compose", "unheard_of"])
def test_what_no_guardrail_decided_has_no_verdicts(reason: str | None) -> None:
    assert said_at_the_end(reason, "x") == ()
