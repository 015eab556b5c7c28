"""Messages are sent once: who may begin an attempt, and what becomes of those that were begun."""

from __future__ import annotations

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus, SuppressionScope
from headrace.domain.messages.requests import SuppressionFields
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.store.contract.processing import DEATHS_MAX
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events


def new_topic(session: StoreSession, project_id: int) -> str:
    fields = TopicFields(name="News", default_subscribed=True)
    return session.run(session.store.topics.create(project_id, fields, START_US)).id


def test_a_message_is_made_claimed_begun_and_sent(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project, to="Ann@Example.net")
    assert (message.state, message.address) == (MessageStatus.QUEUED, "ann@example.net")
    assert message.recipient == "Ann@example.net"

    (claimed,) = mail.claim(session)
    assert mail.claim(session) == []
    assert mail.start(session, claimed).attempt == 1
    mail.record(session, claimed, code=250)

    sent = mail.message_of(session, project, message)
    assert (sent.state, sent.last_event, sent.attempt) == (MessageStatus.SENT, "send", 1)
    assert sent.sent_us is not None
    ((name, payload),) = system_events(session, "sendrealm.mail.")
    assert name == "sendrealm.mail.send"
    assert payload["message_id"] == message.id
    assert (payload["contact_id"], payload["subject"]) == (sent.contact_id, "Hello")
    assert payload["relay"] == "test"


def test_the_same_key_finds_the_first_request(session: StoreSession) -> None:
    project = mail.new_project(session)
    first = mail.send(session, project, mail.email_request(idempotency_key="k"))
    again = mail.send(session, project, mail.email_request(idempotency_key="k"))
    other = mail.send(session, project, mail.email_request(idempotency_key="k", subject="No"))

    assert not first.deduplicated
    assert (again.deduplicated, again.mismatch) == (True, False)
    assert (other.deduplicated, other.mismatch) == (True, True)
    assert [one.id for one in again.messages] == [one.id for one in first.messages]
    assert session.place.run_sql("SELECT count(*) FROM messages") == [(1,)]


def test_every_recipient_gets_a_message_and_a_contact(session: StoreSession) -> None:
    project = mail.new_project(session)
    known = create_contact(session, project, email="ann@example.net")
    sent = mail.send(
        session,
        project,
        mail.email_request(cc=["bob@example.net"], bcc=["ann@example.net", "eve@example.net"]),
    )
    found = {one.address: one for one in sent.messages}
    assert {one.role for one in sent.messages} == {"to", "cc", "bcc"}
    assert set(found) == {"ann@example.net", "bob@example.net", "eve@example.net"}
    assert found["ann@example.net"].contact_id == known.id
    assert len({one.contact_id for one in sent.messages}) == 3


def test_a_claim_that_was_lost_begins_nothing(session: StoreSession) -> None:
    project = mail.new_project(session)
    mail.send_one(session, project)
    (first,) = mail.claim(session)
    session.place.run_sql("UPDATE messages SET lease_until_us = 1")
    assert session.run(session.store.messages.outbox.rescue(10)) == 1
    (second,) = mail.claim(session, owner="other/1:1:1")

    assert mail.start(session, first).lost
    assert mail.start(session, second, owner="other/1:1:1").attempt == 1
    assert session.place.run_sql("SELECT count(*) FROM message_attempts") == [(1,)]


def test_marketing_whose_worker_died_in_an_attempt_is_held(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    message = mail.send_one(session, project, kind="marketing", topic_id=topic)
    (claimed,) = mail.claim(session)
    mail.start(session, claimed)
    session.place.run_sql("UPDATE messages SET lease_until_us = 1")
    session.run(session.store.messages.outbox.rescue(10))

    held = mail.message_of(session, project, message)
    assert (held.state, held.due_us) == (MessageStatus.UNKNOWN, None)
    assert mail.claim(session) == []
    # The worker was only paused, and tells what it did.
    mail.record(session, claimed)
    assert mail.message_of(session, project, message).state is MessageStatus.SENT
    assert len(system_events(session, "sendrealm.mail.send")) == 1


def test_transactional_mail_is_tried_once_more_after_an_unknown_outcome(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, ReplyClass.UNKNOWN)
    held = mail.message_of(session, project, message)
    assert held.state is MessageStatus.UNKNOWN
    assert held.due_us is not None

    mail.make_due(session, message)
    mail.deliver(session, ReplyClass.UNKNOWN)
    again = mail.message_of(session, project, message)
    assert (again.state, again.due_us, again.attempt) == (MessageStatus.UNKNOWN, None, 2)


def test_three_deaths_end_a_message_that_was_never_begun(session: StoreSession) -> None:
    """Workers may be killed from outside: after the second death the message waits."""
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    for number in range(1, DEATHS_MAX + 1):
        assert len(mail.claim(session)) == 1
        session.place.run_sql("UPDATE messages SET lease_until_us = 1")
        session.run(session.store.messages.outbox.rescue(10))
        if 1 < number < DEATHS_MAX:
            assert mail.claim(session) == []
            mail.make_due(session, message)
    ended = mail.message_of(session, project, message)
    assert (ended.state, ended.reason) == (MessageStatus.FAILED, "poison")


def test_a_hard_bounce_suppresses_the_address(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(
        session, ReplyClass.ADDRESS_BAD, code=550, status="5.1.1", diagnostic="no such user"
    )
    assert mail.message_of(session, project, message).state is MessageStatus.BOUNCED
    ((name, payload),) = system_events(session, "sendrealm.mail.")
    assert (name, payload["class"]) == ("sendrealm.mail.bounce", "address_bad")

    again = mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_hard_bounce"
    assert mail.message_of(session, project, again).state is MessageStatus.SKIPPED


def test_a_rejection_of_the_sender_suppresses_no_address(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, ReplyClass.SENDER_REFUSED, code=550, status="5.7.26")
    assert mail.message_of(session, project, message).state is MessageStatus.BLOCKED
    assert session.place.run_sql("SELECT count(*) FROM suppressions") == [(0,)]


def test_a_temporary_rejection_is_retried(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, ReplyClass.DEFERRED, code=451)
    waiting = mail.message_of(session, project, message)
    assert (waiting.state, waiting.reason) == (MessageStatus.DEFERRED, "deferred")
    mail.make_due(session, message)
    mail.deliver(session)
    assert mail.message_of(session, project, message).attempt == 2


def test_consent_is_that_of_the_hand_over(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    message = mail.send_one(session, project, kind="marketing", topic_id=topic)
    (claimed,) = mail.claim(session)
    assert message.contact_id is not None
    session.run(
        session.store.topics.subscribe(project, message.contact_id, topic, START_US, wanted=False)
    )
    assert mail.start(session, claimed).reason == "unsubscribed_topic"


def test_a_suppression_by_hand_holds_by_its_scope(session: StoreSession) -> None:
    project = mail.new_project(session)
    fields = SuppressionFields(
        email="ann@example.net", scope=SuppressionScope.MARKETING, note="asked by phone"
    )
    entry = session.run(
        session.store.messages.suppressions.add(project, fields, START_US, actor="me")
    )
    topic = new_topic(session, project)
    mail.send_one(session, project, kind="marketing", topic_id=topic)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_manual"
    mail.send_one(session, project)
    mail.deliver(session)

    listed = session.run(session.store.messages.suppressions.list(project, limit=10))
    assert [one.id for one in listed] == [entry.id]
    removed = session.run(
        session.store.messages.suppressions.remove(project, entry.id, START_US, actor="me")
    )
    assert removed is not None
    mail.send_one(session, project, kind="marketing", topic_id=topic)
    mail.deliver(session)


def test_a_frequency_cap_counts_what_was_handed_over(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    mail.set_policy(
        session,
        project,
        "frequency_caps",
        [{"channel": "mail", "max": 2, "per_seconds": 3600, "on_cap": "skip"}],
    )
    for _ in range(2):
        mail.send_one(session, project, kind="marketing", topic_id=topic)
        mail.deliver(session)
    mail.send_one(session, project, kind="marketing", topic_id=topic)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "frequency_cap"
    # Somebody else is not concerned, nor is transactional mail.
    mail.send_one(session, project, to="bob@example.net", kind="marketing", topic_id=topic)
    mail.deliver(session)
    mail.send_one(session, project)
    mail.deliver(session)


def test_a_daily_limit_defers(session: StoreSession) -> None:
    project = mail.new_project(session)
    mail.set_policy(session, project, "send_limit_per_day", 1)
    mail.send_one(session, project)
    mail.deliver(session)
    message = mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "send_limit"
    waiting = mail.message_of(session, project, message)
    assert waiting.due_us is not None
    assert waiting.due_us > session.store.clock_us()


def test_nothing_leaves_while_sending_is_paused(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.set_policy(session, project, "sending_paused", "mail")
    assert mail.claim(session) == []
    mail.set_policy(session, project, "sending_paused", "none")
    (claimed,) = mail.claim(session)
    # Also what was claimed before.
    mail.set_policy(session, project, "sending_paused", ["example.org"])
    assert mail.start(session, claimed).reason == "sending_paused"
    mail.set_policy(session, project, "sending_paused", "none")
    mail.make_due(session, message)
    mail.deliver(session)


def test_projects_take_turns_and_transactional_mail_goes_first(session: StoreSession) -> None:
    one, other = mail.new_project(session, "one"), mail.new_project(session, "other")
    topic = new_topic(session, one)
    for number in range(4):
        mail.send_one(session, one, to=f"a{number}@example.net", kind="marketing", topic_id=topic)
    mail.send_one(session, one, to="now@example.net")
    mail.send_one(session, other)

    claimed = mail.claim(session, limit=4)
    projects = [each.message.project_id for each in claimed]
    assert (projects.count(one), projects.count(other)) == (3, 1) or projects.count(other) == 1
    assert "now@example.net" in {each.message.address for each in claimed}


def test_a_released_message_is_claimed_again(session: StoreSession) -> None:
    project = mail.new_project(session)
    mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert session.run(session.store.messages.outbox.release(mail.OWNER, [claimed])) == 1
    (again,) = mail.claim(session)
    assert again.claim == claimed.claim + 1
    assert again.crashes == 0


def test_a_scheduled_message_waits(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project, scheduled_at="2026-12-31T00:00:00Z")
    if message.due_us is not None and message.due_us > session.store.clock_us():
        assert mail.claim(session) == []
    mail.make_due(session, message)
    mail.deliver(session)


def test_a_skip_emits_an_event_where_the_project_asks_for_it(session: StoreSession) -> None:
    project = mail.new_project(session)
    fields = SuppressionFields(email="ann@example.net", scope=SuppressionScope.ALL, note="")
    session.run(session.store.messages.suppressions.add(project, fields, START_US, actor="me"))
    for asked in (False, True):
        if asked:
            mail.set_policy(session, project, "optional_events", ["sendrealm.mail.skip"])
        mail.send_one(session, project)
        (claimed,) = mail.claim(session)
        mail.start(session, claimed)
        told = system_events(session, "sendrealm.mail.skip")
        assert [payload["reason"] for _, payload in told] == ["suppressed_manual"] * asked
