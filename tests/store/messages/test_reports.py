"""What comes back about a message from outside, each effect once."""

from __future__ import annotations

import pytest

from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Message
from headrace.store.messages.feedback.reports import Report, ReportKind
from tests.support import mail
from tests.support.session import StoreSession
from tests.support.stored_contacts import system_events

DAY_US = 86_400_000_000


def report(session: StoreSession, message: Message, kind: ReportKind, at_us: int = 0) -> None:
    given = Report(message_id=message.id, kind=kind, source="dsn", status="5.1.1")
    now_us = session.store.clock_us() + at_us
    assert session.run(session.store.messages.reports.apply(given, now_us)) is not None


def names(session: StoreSession) -> list[str]:
    return sorted(name.rpartition(".")[2] for name, _ in system_events(session, "sendrealm.mail."))


@pytest.mark.parametrize("outcome", [ReplyClass.SENT, ReplyClass.UNKNOWN])
def test_a_delivery_emits_one_event(session: StoreSession, outcome: ReplyClass) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, outcome)
    for _ in range(2):
        report(session, message, ReportKind.DELIVERED)
    assert mail.message_of(session, project, message).state is MessageStatus.DELIVERED
    assert names(session) == ["delivery", "send"]


def test_a_bounce_settles_an_unknown_outcome_and_suppresses(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, ReplyClass.UNKNOWN)
    for _ in range(2):
        report(session, message, ReportKind.HARD)
    ended = mail.message_of(session, project, message)
    assert (ended.state, ended.due_us) == (MessageStatus.BOUNCED, None)
    assert names(session) == ["bounce"]
    mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_hard_bounce"


def test_a_complaint_stops_marketing_and_not_the_rest(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session)
    report(session, message, ReportKind.COMPLAINT)
    assert mail.message_of(session, project, message).state is MessageStatus.COMPLAINED
    assert names(session) == ["complaint", "send"]
    mail.set_policy(session, project, "topicless_marketing", value=True)
    mail.send_one(session, project, kind="marketing")
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_complaint"
    mail.send_one(session, project)
    mail.deliver(session)


def test_soft_bounces_over_a_week_are_a_hard_one(session: StoreSession) -> None:
    project = mail.new_project(session)
    messages = []
    for number in range(5):
        messages.append(mail.send_one(session, project))
        mail.deliver(session)
        report(session, messages[-1], ReportKind.SOFT, number * 2 * DAY_US)
    assert names(session).count("bounce") == 1
    assert mail.message_of(session, project, messages[-1]).state is MessageStatus.BOUNCED
    assert session.place.run_sql("SELECT count(*) FROM soft_bounces") == [(0,)]
