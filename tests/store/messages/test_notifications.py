"""What comes back about a message: found, stored, and applied once."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

import pytest

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.feedback.form import Feedback, FeedbackKind, Source
from headrace.domain.messages.feedback.notification import Effect, Intake, Received
from headrace.domain.messages.kinds import MessageStatus, SuppressionReason
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import UnsubscribeTarget
from headrace.store.contract.messages import Message, Notification
from headrace.store.messages.feedback import notifications
from headrace.store.messages.feedback.notifications import Wanted
from tests.support import mail
from tests.support.session import StoreSession
from tests.support.stored_contacts import system_events

DAY_US = 86_400_000_000
KEY = "a" * 26
ADDRESS = "ann@example.net"
_numbers = count()


def received(*reports: Feedback, **members: Any) -> Received:
    """A mail of its own unless `digest` is given."""
    given: dict[str, Any] = {
        "intake": Intake.IMAP,
        "digest": hashlib.sha256(b"%d" % next(_numbers)).digest(),
        "raw": "extract",
    }
    return Received(reports=reports, **(given | members))


def about(message: Message, kind: FeedbackKind, **members: Any) -> Feedback:
    given: dict[str, Any] = {"source": Source.DSN, "message_id": message.id, "address": ADDRESS}
    return Feedback(kind=kind, **(given | members))


def take(session: StoreSession, what: Received, after_us: int = 0) -> Notification:
    now_us = session.store.clock_us() + after_us
    return session.run(session.store.messages.notifications.take(what, now_us))


def effect(session: StoreSession, message: Message, kind: FeedbackKind, **members: Any) -> Effect:
    return take(session, received(about(message, kind, **members))).effect


def sent(session: StoreSession, project: int, outcome: ReplyClass = ReplyClass.SENT) -> Message:
    message = mail.send_one(session, project)
    mail.deliver(session, outcome)
    return message


def names(session: StoreSession) -> list[str]:
    return sorted(name.rpartition(".")[2] for name, _ in system_events(session, "sendrealm.mail."))


def state(
    session: StoreSession, project: int, message: Message
) -> tuple[MessageStatus, str | None]:
    found = mail.message_of(session, project, message)
    return found.state, found.reason


def reasons(session: StoreSession, project: int) -> list[SuppressionReason]:
    found = session.run(session.store.messages.suppressions.of_address(project, ADDRESS))
    return [one.reason for one in found]


@pytest.mark.parametrize("outcome", [ReplyClass.SENT, ReplyClass.UNKNOWN])
def test_a_delivery_emits_one_event(session: StoreSession, outcome: ReplyClass) -> None:
    project = mail.new_project(session)
    message = sent(session, project, outcome)
    effects = [effect(session, message, FeedbackKind.DELIVERED) for _ in range(2)]
    assert effects == [Effect.DELIVERED, Effect.NOTHING]
    assert state(session, project, message) == (MessageStatus.DELIVERED, None)
    assert names(session) == ["delivery", "send"]


def test_a_bounce_settles_an_unknown_outcome_and_suppresses(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = sent(session, project, ReplyClass.UNKNOWN)
    effects = [
        effect(session, message, FeedbackKind.HARD, reason=ReplyClass.ADDRESS_BAD) for _ in range(2)
    ]
    assert effects == [Effect.SUPPRESSED, Effect.NOTHING]
    ended = mail.message_of(session, project, message)
    assert (ended.state, ended.reason, ended.due_us) == (MessageStatus.BOUNCED, "address_bad", None)
    assert names(session) == ["bounce"]
    mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_hard_bounce"


def test_a_complaint_stops_marketing_and_not_the_rest(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = sent(session, project)
    assert effect(session, message, FeedbackKind.COMPLAINT) is Effect.COMPLAINED
    assert effect(session, message, FeedbackKind.COMPLAINT) is Effect.NOTHING
    assert state(session, project, message)[0] is MessageStatus.COMPLAINED
    assert names(session) == ["complaint", "send"]
    mail.set_policy(session, project, "topicless_marketing", value=True)
    mail.send_one(session, project, kind="marketing")
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_complaint"
    mail.send_one(session, project)
    mail.deliver(session)


def test_soft_bounces_over_a_week_are_a_hard_one(session: StoreSession) -> None:
    project = mail.new_project(session)
    effects = []
    messages = [sent(session, project) for _ in range(5)]
    for number, message in enumerate(messages):
        report = about(message, FeedbackKind.SOFT, reason=ReplyClass.MAILBOX_FULL)
        effects.append(take(session, received(report), number * 2 * DAY_US).effect)
    assert effects == [*[Effect.COUNTED] * 4, Effect.SUPPRESSED]
    assert names(session).count("bounce") == 1
    assert state(session, project, messages[-1]) == (MessageStatus.BOUNCED, "mailbox_full")
    assert session.place.run_sql("SELECT count(*) FROM soft_bounces") == [(0,)]


def test_a_delivery_between_soft_bounces_starts_the_count_again(session: StoreSession) -> None:
    project = mail.new_project(session)
    messages = [sent(session, project) for _ in range(6)]
    for number, message in enumerate(messages):
        kind = FeedbackKind.DELIVERED if number == 3 else FeedbackKind.SOFT
        take(session, received(about(message, kind)), number * 3 * DAY_US)
    assert state(session, project, messages[-1]) == (MessageStatus.FAILED, "deferred")
    assert reasons(session, project) == []


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (ReplyClass.SENDER_REFUSED, (MessageStatus.BLOCKED, "sender_refused")),
        (ReplyClass.THROTTLED, (MessageStatus.BLOCKED, "throttled")),
        (ReplyClass.TOO_LARGE, (MessageStatus.FAILED, "too_large")),
        (None, (MessageStatus.BLOCKED, "sender_refused")),
    ],
)
def test_a_blocked_mail_never_suppresses(
    session: StoreSession,
    reason: ReplyClass | None,
    expected: tuple[MessageStatus, str],
) -> None:
    project = mail.new_project(session)
    message = sent(session, project)
    followed = effect(session, message, FeedbackKind.BLOCKED, reason=reason)
    assert followed.value == expected[0].value
    assert state(session, project, message) == expected
    assert reasons(session, project) == []
    assert names(session) == ["send"]


@pytest.mark.parametrize("kind", [FeedbackKind.AUTO_REPLY, FeedbackKind.DELAYED])
def test_a_reply_or_a_delay_is_no_bounce(session: StoreSession, kind: FeedbackKind) -> None:
    project = mail.new_project(session)
    message, lost = (sent(session, project, one) for one in (ReplyClass.SENT, ReplyClass.UNKNOWN))
    assert effect(session, message, kind) is Effect.NOTHING
    # Something that came back shows that the mail was handed over.
    assert effect(session, lost, kind) is Effect.SETTLED
    assert {state(session, project, one)[0] for one in (message, lost)} == {MessageStatus.SENT}
    assert reasons(session, project) == []
    assert names(session) == ["send", "send"]


def test_what_is_not_understood_is_stored_and_does_nothing(session: StoreSession) -> None:
    project = mail.new_project(session)
    lost = sent(session, project, ReplyClass.UNKNOWN)
    given = take(session, received(about(lost, FeedbackKind.UNKNOWN, event="email.scheduled")))
    assert (given.effect, given.event) == (Effect.NOTHING, "email.scheduled")
    assert state(session, project, lost)[0] is MessageStatus.UNKNOWN


def test_the_same_bytes_are_applied_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = sent(session, project)
    what = received(about(message, FeedbackKind.SOFT))
    first, second = take(session, what), take(session, what)
    assert first == second
    assert session.place.run_sql("SELECT count FROM soft_bounces") == [(1,)]
    found = session.run(session.store.messages.notifications.list(project, Wanted(), limit=10))
    assert found == [first]


def test_a_report_waits_while_its_message_is_being_sent(session: StoreSession) -> None:
    """A bounce may arrive before the worker has recorded that the relay accepted the mail."""
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    mail.start(session, claimed)
    held = session.store.messages.notifications
    given = take(session, received(about(message, FeedbackKind.HARD)))
    assert given.effect is Effect.WAITING
    later_us = session.store.clock_us() + notifications.WAIT_US
    assert session.run(held.settle_waiting(later_us, 10)) == 1
    mail.record(session, claimed)
    assert state(session, project, message)[0] is MessageStatus.SENT
    later_us += notifications.WAIT_US
    assert [session.run(held.settle_waiting(later_us, 10)) for _ in range(2)] == [1, 0]
    assert state(session, project, message)[0] is MessageStatus.BOUNCED
    assert reasons(session, project) == [SuppressionReason.HARD_BOUNCE]
    (found,) = session.run(held.list(project, Wanted(message_id=message.id), limit=10))
    assert found.effect is Effect.SUPPRESSED
    assert names(session) == ["bounce", "send"]


def test_a_message_that_was_not_sent_has_no_report(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    assert effect(session, message, FeedbackKind.HARD) is Effect.NOTHING
    assert state(session, project, message)[0] is MessageStatus.QUEUED
    assert reasons(session, project) == []


@pytest.mark.parametrize(
    ("claim", "address", "trusted", "found"),
    [
        ("envelope_id", ADDRESS, False, True),
        ("envelope_id", "Ann@Example.net", False, True),
        ("envelope_id", "else@example.net", False, False),
        ("envelope_id", None, False, False),
        ("envelope_id", None, True, True),
        ("original_message_id", ADDRESS, False, True),
        ("original_message_id", "else@example.net", False, False),
        ("original_message_id", None, True, True),
    ],
)
def test_an_unsigned_claim_needs_the_address_or_a_known_source(
    session: StoreSession, claim: str, address: str | None, *, trusted: bool, found: bool
) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    mail.start(session, claimed, mail_key=KEY)
    mail.record(session, claimed)
    by_envelope = claim == "envelope_id"
    report = Feedback(
        kind=FeedbackKind.HARD,
        source=Source.DSN,
        address=address,
        envelope_id=message.id if by_envelope else None,
        original_message_id=None if by_envelope else f"{KEY}@example.org",
    )
    given = take(session, received(report, trusted=trusted))
    assert given.project_id == project
    assert (given.effect, given.message_id) == (
        (Effect.SUPPRESSED, message.id) if found else (Effect.NO_MESSAGE, None)
    )
    # An address that belongs to no message would outlive an erasure.
    assert given.address == (address if found else None)


SES_ID = "0102018f6a1b2c3d-4e5f6a7b-8c9d-4e0f-a1b2-c3d4e5f6a7b8-000000"


@pytest.mark.parametrize(
    ("provider_id", "trusted", "found"),
    [(SES_ID, True, True), (SES_ID, False, False), (SES_ID[:-1] + "1", True, False)],
)
def test_the_id_in_the_response_of_the_relay_finds_the_message(
    session: StoreSession, provider_id: str, *, trusted: bool, found: bool
) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, code=250, diagnostic=f"Ok {SES_ID}")
    report = Feedback(
        kind=FeedbackKind.HARD, source=Source.SES, provider_id=provider_id, address=message.address
    )
    given = take(session, received(report, trusted=trusted))
    assert given.message_id == (message.id if found else None)
    assert given.effect is (Effect.SUPPRESSED if found else Effect.NO_MESSAGE)


def test_an_id_that_two_messages_have_finds_none(session: StoreSession) -> None:
    project = mail.new_project(session)
    for _ in range(2):
        mail.send_one(session, project)
        mail.deliver(session, code=250, diagnostic=f"Ok {SES_ID}")
    report = Feedback(kind=FeedbackKind.HARD, source=Source.SES, provider_id=SES_ID)
    assert take(session, received(report, trusted=True)).message_id is None


def test_a_message_of_another_project_needs_a_signed_token(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = sent(session, project)
    other = mail.new_project(session, "other", worker=False)
    claim = Feedback(
        kind=FeedbackKind.HARD, source=Source.DSN, address=ADDRESS, envelope_id=message.id
    )
    given = take(session, received(claim, project_id=other))
    assert (given.effect, given.project_id) == (Effect.NO_MESSAGE, other)
    given = take(session, received(about(message, FeedbackKind.HARD), project_id=other))
    assert (given.effect, given.project_id) == (Effect.SUPPRESSED, project)


def test_the_report_about_the_recipient_decides(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = sent(session, project)
    reports = (
        about(message, FeedbackKind.HARD, address="member@example.com"),
        about(message, FeedbackKind.DELIVERED),
    )
    assert take(session, received(*reports)).effect is Effect.DELIVERED
    assert reasons(session, project) == []


def test_an_unsubscribe_by_mail_or_provider(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = session.run(
        session.store.topics.create(
            project, TopicFields(name="News", default_subscribed=True), session.store.clock_us()
        )
    )
    message = mail.send_one(session, project, kind="marketing", topic_id=topic.id)
    mail.deliver(session)
    contact_id = message.contact_id
    assert contact_id is not None
    assert effect(session, message, FeedbackKind.UNSUBSCRIBE) is Effect.UNSUBSCRIBED
    assert names(session) == ["send", "unsubscribe"]
    target = UnsubscribeTarget(contact_id=contact_id, topic_id=topic.id)
    unsigned = Feedback(kind=FeedbackKind.UNSUBSCRIBE, source=Source.MAIL)
    other = mail.new_project(session, "other", worker=False)
    given = take(session, received(unsigned, unsubscribe=target, project_id=other))
    assert (given.effect, given.project_id) == (Effect.UNSUBSCRIBED, project)
    mail.send_one(session, project, kind="marketing", topic_id=topic.id)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "unsubscribed_topic"


def test_lists_are_filtered_counted_and_paged(session: StoreSession) -> None:
    project = mail.new_project(session)
    held = session.store.messages.notifications
    message = sent(session, project)
    made = [
        take(session, received(about(message, kind)))
        for kind in (FeedbackKind.DELIVERED, FeedbackKind.AUTO_REPLY, FeedbackKind.SOFT)
    ]
    stranger = take(session, received(Feedback(kind=FeedbackKind.UNKNOWN, source=Source.RESEND)))

    def found(wanted: Wanted, **page: Any) -> list[Notification]:
        return list(session.run(held.list(project, wanted, **({"limit": 10} | page))))

    assert found(Wanted()) == [stranger, *reversed(made)]
    assert found(Wanted(), before=stranger.number, limit=1) == [made[2]]
    assert found(Wanted(message_id=message.id)) == made[::-1]
    assert found(Wanted(kind=FeedbackKind.SOFT)) == [made[2]]
    assert found(Wanted(source=Source.RESEND)) == [stranger]
    assert found(Wanted(effect=Effect.DELIVERED, message_id=message.id)) == [made[0]]
    other = mail.new_project(session, "other", worker=False)
    assert session.run(held.list(other, Wanted(message_id=message.id), limit=10)) == []
    assert session.run(held.get(other, stranger.id)) is None
    assert session.run(held.get(project, stranger.id)) == stranger
    counted = session.run(held.counts(project))
    assert counted == {
        FeedbackKind.AUTO_REPLY: 1,
        FeedbackKind.DELIVERED: 1,
        FeedbackKind.SOFT: 1,
        FeedbackKind.UNKNOWN: 1,
    }


def test_only_the_newest_are_kept(session: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    project = mail.new_project(session)
    monkeypatch.setattr(notifications, "KEPT_MAX", 3)
    monkeypatch.setattr(notifications, "TRIM_EVERY", 5)
    for _ in range(5):
        take(session, received(Feedback(kind=FeedbackKind.UNKNOWN, source=Source.MAIL)))
    assert session.run(session.store.messages.notifications.counts(project)) == {
        FeedbackKind.UNKNOWN: 3
    }


def test_notifications_end_with_the_retention_of_messages(session: StoreSession) -> None:
    project = mail.new_project(session)
    held = session.store.messages.notifications
    take(session, received(Feedback(kind=FeedbackKind.UNKNOWN, source=Source.MAIL)))
    now_us = session.store.clock_us()
    assert session.run(held.prune(now_us + 80 * DAY_US, 10)) == 0
    assert session.run(held.prune(now_us + 100 * DAY_US, 10)) == 1
    assert session.run(held.counts(project)) == {}
