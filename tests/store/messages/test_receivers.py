"""Receivers that reject the sender: mail to them waits, one message probes; and daily figures."""

from __future__ import annotations

from typing import Any

from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Intake, Received
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.receiver_breaker import PAUSE_FIRST_US
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.messages import Message
from headrace.store.messages.receivers import Figures, OpenBreaker
from tests.support import mail
from tests.support.session import StoreSession

REPLY: dict[str, Any] = {"code": 550, "status": "5.7.26", "diagnostic": "unauthenticated mail"}


def open_breakers(session: StoreSession, project: int) -> list[OpenBreaker]:
    return list(session.run(session.store.messages.receivers.open_breakers(project)))


def reject(session: StoreSession, project: int, times: int) -> None:
    for number in range(times):
        mail.send_one(session, project, to=f"p{number}@example.net")
        mail.deliver(session, ReplyClass.SENDER_REFUSED, **REPLY)


def pause_over(session: StoreSession) -> None:
    session.place.run_sql("UPDATE receiver_breakers SET until_us = 1")


def begun(session: StoreSession, message: Message) -> str | int | None:
    """The number of the attempt, or why there is none."""
    mail.make_due(session, message)
    for claimed in mail.claim(session):
        if claimed.message.id == message.id:
            result = mail.start(session, claimed)
            return result.attempt or result.reason
    return "not due"


def test_rejections_of_the_sender_hold_back_mail_and_suppress_nobody(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    reject(session, project, 4)
    assert open_breakers(session, project) == []
    reject(session, project, 1)

    (held,) = open_breakers(session, project)
    assert (held.domain, held.receiver) == ("example.org", "example.net")
    assert held.breaker.rejection.text == "550 5.7.26 unauthenticated mail"
    assert held.breaker.until_us - (held.breaker.opened_us or 0) == PAUSE_FIRST_US
    waiting = mail.send_one(session, project, to="ann@example.net")
    assert begun(session, waiting) == "receiver_rejects_sender"
    shown = mail.message_of(session, project, waiting)
    assert (shown.state, shown.rule) == (MessageStatus.DEFERRED, held.breaker.rejection.text)
    assert shown.due_us is not None
    assert shown.due_us >= held.breaker.until_us
    # Another receiver is not affected.
    assert begun(session, mail.send_one(session, project, to="ann@example.com")) == 1
    assert session.place.run_sql("SELECT count(*) FROM suppressions") == [(0,)]


def test_one_message_probes_and_an_accepted_one_closes(session: StoreSession) -> None:
    project = mail.new_project(session)
    reject(session, project, 5)
    first = mail.send_one(session, project, to="ann@example.net")
    second = mail.send_one(session, project, to="bob@example.net")
    pause_over(session)
    results = {}
    for claimed in mail.claim(session):
        results[claimed.message.id] = (claimed, mail.start(session, claimed))
    attempts = [result.attempt for _, result in results.values()]
    assert sorted(attempts, key=str) == [1, None]
    ((probe, _),) = [pair for pair in results.values() if pair[1].attempt]

    mail.record(session, probe, ReplyClass.SENDER_REFUSED, **REPLY)
    (held,) = open_breakers(session, project)
    # The pause of a rejected probe is twice as long.
    assert held.breaker.until_us - held.breaker.at_us == 2 * PAUSE_FIRST_US
    (other,) = [one for one in (first, second) if one.id != probe.message.id]
    assert begun(session, other) == "receiver_rejects_sender"
    pause_over(session)
    mail.make_due(session, other)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).attempt == 1
    mail.record(session, claimed, code=250)
    assert open_breakers(session, project) == []
    third = mail.send_one(session, project, to="eve@example.net")
    assert begun(session, third) == 1


def test_an_answer_about_an_address_does_not_end_a_run_of_rejections(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    reject(session, project, 4)
    mail.send_one(session, project, to="gone@example.net")
    mail.deliver(session, ReplyClass.ADDRESS_BAD, code=550, status="5.1.1")
    reject(session, project, 1)
    assert len(open_breakers(session, project)) == 1


def take_report(session: StoreSession, message: Message, kind: FeedbackKind) -> None:
    rejected = kind is FeedbackKind.BLOCKED
    report = Feedback(
        kind=kind,
        source=Source.DSN,
        message_id=message.id,
        address=message.address,
        reason=ReplyClass.SENDER_REFUSED if rejected else None,
        status="5.7.26" if rejected else None,
        diagnostic="unauthenticated mail" if rejected else None,
    )
    digest = f"{message.id}{kind}".encode()[-32:]
    received = Received(reports=(report,), intake=Intake.IMAP, digest=digest, raw="")
    now_us = session.store.clock_us()
    session.run(session.store.messages.notifications.take(received, now_us))


def accepted_and_reported(session: StoreSession, project: int, times: int) -> None:
    """Mails that the relay accepts, and whose rejection by the receiver comes back later."""
    for number in range(times):
        sent = mail.send_one(session, project, to=f"r{number}@example.net")
        mail.deliver(session, code=250)
        take_report(session, sent, FeedbackKind.BLOCKED)


def test_reported_rejections_hold_back_mail_although_the_relay_accepts_it(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    accepted_and_reported(session, project, 4)
    assert open_breakers(session, project) == []
    accepted_and_reported(session, project, 1)
    (held,) = open_breakers(session, project)
    assert (held.receiver, held.breaker.seen) == ("example.net", 5)
    assert held.breaker.rejection.text == "5.7.26 unauthenticated mail"
    waiting = mail.send_one(session, project, to="ann@example.net")
    assert begun(session, waiting) == "receiver_rejects_sender"
    assert session.place.run_sql("SELECT count(*) FROM suppressions") == [(0,)]

    # One accepted probe proves nothing; a second one without a report between them does.
    pause_over(session)
    mail.make_due(session, waiting)
    mail.deliver(session, code=250)
    assert len(open_breakers(session, project)) == 1
    pause_over(session)
    mail.send_one(session, project, to="bob@example.net")
    mail.deliver(session, code=250)
    assert open_breakers(session, project) == []


def test_a_delivered_probe_ends_reported_rejections(session: StoreSession) -> None:
    project = mail.new_project(session)
    accepted_and_reported(session, project, 5)
    pause_over(session)
    probe = mail.send_one(session, project, to="ann@example.net")
    mail.deliver(session, code=250)
    take_report(session, probe, FeedbackKind.DELIVERED)
    assert open_breakers(session, project) == []


def test_figures_count_each_result_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    receivers = session.store.messages.receivers
    sent = mail.send_one(session, project, to="ann@example.net")
    mail.deliver(session, code=250)
    mail.send_one(session, project, to="gone@example.com")
    mail.deliver(session, ReplyClass.ADDRESS_BAD, code=550, status="5.1.1")
    mail.send_one(session, project, to="bob@example.com")
    mail.deliver(session, ReplyClass.SENDER_REFUSED, **REPLY)
    now_us = session.store.clock_us()
    for number, kind in enumerate(
        (FeedbackKind.DELIVERED, FeedbackKind.DELIVERED, FeedbackKind.COMPLAINT)
    ):
        report = Feedback(
            kind=kind, source=Source.DSN, message_id=sent.id, address="ann@example.net"
        )
        received = Received(
            reports=(report,), intake=Intake.IMAP, digest=bytes([number]) * 32, raw=""
        )
        session.run(session.store.messages.notifications.take(received, now_us))

    (total,) = session.run(receivers.by_domain(project, now_us))
    assert total == Figures(
        name="example.org", sent=1, delivered=1, bounced=1, complained=1, blocked=1
    )
    by_receiver = session.run(receivers.by_receiver(project, "example.org", now_us))
    assert {one.name: (one.sent, one.bounced) for one in by_receiver} == {
        "example.net": (1, 0),
        "example.com": (0, 1),
    }
    (day,) = session.run(receivers.by_day(project, "example.org", now_us))
    assert day.bounce_rate == 0.5
    assert session.run(receivers.prune(now_us, 10)) == 0
    assert session.run(receivers.prune(now_us + 500 * 86_400_000_000, 10)) == 2
