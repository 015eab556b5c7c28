"""Consent, engagement, retention and erasure of messages."""

from __future__ import annotations

from typing import Any

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import Engagement, MessageStatus, SuppressionReason
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.tokens import UnsubscribeTarget
from headrace.store.contract.messages import Message
from headrace.store.messages.feedback.engagement import NewHit
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

DAY_US = 86_400_000_000
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"


def new_topic(session: StoreSession, project_id: int) -> str:
    fields = TopicFields(name="News", default_subscribed=True)
    return session.run(session.store.topics.create(project_id, fields, START_US)).id


def names(session: StoreSession) -> list[str]:
    return [name for name, _ in system_events(session, "sendrealm.mail.")]


def count(session: StoreSession, table: str) -> int:
    ((found,),) = session.place.run_sql(f"SELECT count(*) FROM {table}")
    return int(found)


def target_of(project: int, message: Message) -> UnsubscribeTarget:
    assert message.contact_id is not None
    return UnsubscribeTarget(
        project_id=project,
        contact_id=message.contact_id,
        topic_id=message.topic_id,
        message_id=message.id,
    )


def leave(session: StoreSession, target: UnsubscribeTarget, **options: Any) -> Any:
    chosen: dict[str, Any] = {"everything": False, "source": "one_click"} | options
    unsubscribes = session.store.messages.unsubscribes
    return session.run(unsubscribes.leave(target, START_US + 9, **chosen))


def hit(session: StoreSession, message: Message, at_us: int, **fields: Any) -> None:
    values: dict[str, Any] = {
        "kind": Engagement.OPEN,
        "link": 0,
        "address": "203.0.113.9",
        "user_agent": BROWSER,
    }
    new = NewHit(message_id=message.id, **(values | fields))
    session.run(session.store.messages.engagements.note([new], at_us))


def settle_hits(session: StoreSession, now_us: int) -> int:
    return session.run(session.store.messages.engagements.settle(now_us, 100))


def test_one_click_leaves_the_topic_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    message = mail.send_one(session, project, kind="marketing", topic_id=topic)
    mail.deliver(session)

    target = target_of(project, message)
    left = leave(session, target)
    again = leave(session, target)

    assert (left.changed, again.changed) == (1, 0)
    assert sorted(names(session)) == ["sendrealm.mail.send", "sendrealm.mail.unsubscribe"]
    assert len(system_events(session, "sendrealm.topic.unsubscribed")) == 1
    assert mail.message_of(session, project, message).last_event == "unsubscribe"
    # Everything is more than the topic.
    assert leave(session, target, everything=True).topic is None
    assert names(session).count("sendrealm.mail.unsubscribe") == 2


def test_unsubscribing_works_when_the_message_is_gone(session: StoreSession) -> None:
    project = mail.new_project(session)
    contact, topic = create_contact(session, project), new_topic(session, project)
    by_mailbox = UnsubscribeTarget(contact_id=contact.id, topic_id=topic)
    assert leave(session, by_mailbox, source="mailto").changed == 1
    gone = UnsubscribeTarget(
        project_id=project, contact_id=contact.id, topic_id=None, message_id=topic
    )
    assert leave(session, gone).contact_id == contact.id
    assert names(session) == []


def test_an_open_by_a_person_emits_one_event(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session)
    sent_us = mail.message_of(session, project, message).sent_us
    assert sent_us is not None
    later_us = sent_us + 60_000_000
    hit(session, message, later_us)
    hit(session, message, later_us + 1_000_000)
    assert settle_hits(session, later_us + 5_000_000) == 0
    assert settle_hits(session, later_us + 20_000_000) == 2
    assert settle_hits(session, later_us + 20_000_000) == 0
    assert names(session) == ["sendrealm.mail.send", "sendrealm.mail.open"]
    assert session.place.run_sql(
        "SELECT verdict, count, last_us - first_us FROM message_engagement"
    ) == [("person", 2, 1_000_000)]


def test_an_open_by_a_machine_is_counted_without_an_event(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session)
    sent_us = mail.message_of(session, project, message).sent_us
    assert sent_us is not None
    hit(session, message, sent_us + 60_000_000, head=True)
    settle_hits(session, sent_us + 90_000_000)
    assert names(session) == ["sendrealm.mail.send"]
    assert session.place.run_sql("SELECT verdict, reason FROM message_engagement") == [
        ("machine", "head_request")
    ]


def test_a_hit_settles_an_unknown_outcome(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    message = mail.send_one(session, project, kind="marketing", topic_id=topic)
    mail.deliver(session, ReplyClass.UNKNOWN)
    now_us = session.store.clock_us() + 60_000_000
    hit(session, message, now_us)
    settle_hits(session, now_us + 20_000_000)
    settled = mail.message_of(session, project, message)
    assert settled.state is MessageStatus.SENT
    assert names(session)[0] == "sendrealm.mail.send"


def test_hits_are_kept_for_a_day(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    hit(session, message, START_US)
    settle_hits(session, START_US + DAY_US)
    engagements = session.store.messages.engagements
    assert session.run(engagements.prune(START_US + DAY_US - 1, 10)) == 0
    assert session.run(engagements.prune(START_US + DAY_US + 1, 10)) == 1
    assert count(session, "message_hits") == 0


def test_a_person_settles_an_unknown_outcome(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    lists = session.store.messages.lists
    for outcome, state in (("sent", "sent"), ("failed", "failed"), ("retry", "deferred")):
        message = mail.send_one(session, project, kind="marketing", topic_id=topic)
        mail.deliver(session, ReplyClass.UNKNOWN)
        unknown = session.run(lists.list(project, state=MessageStatus.UNKNOWN, limit=9))
        assert [one.id for one in unknown] == [message.id]
        settled = session.run(lists.settle(project, message.id, outcome, START_US, actor="me"))
        assert settled is not None
        assert settled.state == state
    assert len(mail.claim(session)) == 1


def test_a_deleted_contact_gets_nothing_more(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    assert message.contact_id is not None
    session.run(session.store.contacts.delete(project, message.contact_id, START_US, source="api"))
    ended = mail.message_of(session, project, message)
    assert (ended.state, ended.reason) == (MessageStatus.CANCELLED, "contact_deleted")
    assert mail.claim(session) == []


def test_a_merge_finds_the_messages_of_both(session: StoreSession) -> None:
    project = mail.new_project(session)
    ann = create_contact(session, project, email="ann@example.net")
    bob = create_contact(session, project, email="bob@example.net")
    messages = [
        mail.send_one(session, project, to=f"{name}@example.net") for name in ("ann", "bob")
    ]
    merge = session.run(session.store.merges.merge(project, ann.id, bob.id, START_US, actor="me"))
    lists = session.store.messages.lists
    found = session.run(lists.of_contact(ann, before=None, limit=9))
    assert {one.id for one in found} == {one.id for one in messages}
    for claimed in mail.claim(session):
        assert mail.start(session, claimed).attempt == 1
        mail.record(session, claimed)
    told = system_events(session, "sendrealm.mail.send")
    assert {payload["contact_id"] for _, payload in told} == {ann.id}
    session.run(session.store.merges.undo(project, merge.id, START_US, actor="me"))
    found = session.run(lists.of_contact(bob, before=None, limit=9))
    assert [one.id for one in found] == [messages[1].id]


def test_an_erasure_leaves_nothing_but_the_hash(session: StoreSession) -> None:
    project = mail.new_project(session)
    members: dict[str, Any] = {"cc": ["bob@example.net"], "html": "<b>Hi</b>"}
    sent = mail.send(session, project, mail.email_request(**members))
    alone = mail.send_one(session, project, text="Only for Ann.")
    ann = sent.messages[0] if sent.messages[0].role == "to" else sent.messages[1]
    for claimed in mail.claim(session):
        number = mail.start(session, claimed).attempt
        bad = claimed.message.id == ann.id
        mail.record(
            session,
            claimed,
            ReplyClass.ADDRESS_BAD if bad else ReplyClass.SENT,
            number or 0,
            diagnostic="no ann here" if bad else "ok",
        )
    hit(session, alone, START_US)
    session.run(session.store.messages.captured.keep(alone.id, b"To: ann@example.net", START_US))
    erasures = session.store.erasures
    assert ann.contact_id is not None
    begun = session.run(erasures.begin(project, ann.contact_id, START_US, actor="me"))
    assert begun is not None
    while session.run(erasures.advance(begun.id, 10, START_US + 10 * DAY_US)):
        pass

    done = session.run(erasures.get(project, begun.id))
    assert done is not None
    assert (done.counts["messages"], done.counts["emails"]) == (2, 1)
    assert count(session, "messages") == 1
    assert count(session, "message_hits") == count(session, "captured_mails") == 0
    for table in ("messages", "emails", "suppressions", "message_attempts", "message_bodies"):
        rows = session.place.run_sql(f"SELECT * FROM {table}")
        assert "ann" not in repr(rows).replace("channel", ""), table
    # The suppression still holds.
    listed = session.run(session.store.messages.suppressions.of_address(project, "ann@example.net"))
    assert [(one.email, one.reason) for one in listed] == [(None, SuppressionReason.HARD_BOUNCE)]
    mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "suppressed_hard_bounce"


def test_messages_sent_during_an_erasure_leave_no_trace(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    (claimed,) = mail.claim(session)
    mail.start(session, claimed)
    erasures = session.store.erasures
    assert message.contact_id is not None
    begun = session.run(erasures.begin(project, message.contact_id, START_US, actor="me"))
    assert begun is not None
    session.run(erasures.advance(begun.id, 10, START_US))
    assert mail.record(session, claimed).state is None
    assert names(session) == []
    assert count(session, "message_attempts") == 0


def test_messages_are_removed_after_their_retention_time(session: StoreSession) -> None:
    project = mail.new_project(session)
    first = mail.send_one(session, project, text="The same.")
    mail.deliver(session)
    mail.send_one(session, project, to="bob@example.net", text="The same.")
    now_us = session.store.clock_us() + 91 * DAY_US
    removal = session.store.messages.removal
    assert session.run(removal.prune(now_us - 2 * DAY_US, 10)) == 0
    assert session.run(removal.prune(now_us, 10)) == 1
    assert session.run(removal.prune(now_us, 10)) == 0
    assert first.email_id is not None
    assert session.run(session.store.messages.emails.get(project, first.email_id)) is None
    # The body is the other one's as well.
    assert (count(session, "messages"), count(session, "message_bodies")) == (1, 1)
    mail.deliver(session)
    assert session.run(removal.prune(now_us, 10)) == 1
    assert count(session, "message_bodies") == count(session, "emails") == 0
