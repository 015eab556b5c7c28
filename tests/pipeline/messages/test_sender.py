"""From the request to the relay: composed, guarded, handed over, recorded."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from email import message_from_string
from typing import Any

from headrace.delivery.mail.contract import MailRelay
from headrace.delivery.mail.dkim import new_dkim_key
from headrace.domain.access.sealing import parse_keys
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import TemplateFields
from headrace.pipeline.messages.sender import Sender
from headrace.store.contract.messages import VersionContent
from tests.pipeline.messages.senders import URL, capture_relay, new_sender, smtp_relay
from tests.support import mail
from tests.support.events import START_US
from tests.support.mail_sink import mail_sink
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact

Use = Callable[[Sender], Coroutine[Any, Any, None]]


def with_sender(session: StoreSession, relay_of: Callable[[], MailRelay], **options: Any) -> Sender:
    """Send what is due now."""

    async def work() -> Sender:
        relay = relay_of()
        sender = await new_sender(session.store, relay, mail.OWNER, **options)
        while await sender.run_once():
            await sender.idle()
        await sender.stop()
        await relay.close()
        return sender

    return session.run(work())


def capture(session: StoreSession, **options: Any) -> Sender:
    return with_sender(session, lambda: capture_relay(session.store), **options)


def captured(session: StoreSession, project_id: int) -> list[str]:
    mails = session.run(session.store.messages.captured.list(project_id, before=None, limit=100))
    return [each.content.decode() for each in mails]


def new_topic(session: StoreSession, project_id: int) -> str:
    fields = TopicFields(name="News", default_subscribed=True)
    return session.run(session.store.topics.create(project_id, fields, START_US)).id


def test_a_mail_leaves_over_smtp(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    with mail_sink() as sink:
        sender = with_sender(session, lambda: smtp_relay(sink.port))
    assert sender.stats.sent == 1
    (sent,) = sink.parsed()
    assert (sent["From"], sent["Subject"]) == ("Shop <news@example.org>", "Hello")
    assert mail.message_of(session, project, message).state is MessageStatus.SENT


def test_a_captured_mail_can_be_read(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    capture(session)
    found = session.run(session.store.messages.captured.of_message(project, message.id))
    assert found is not None
    assert b"Subject: Hello" in found.content
    assert mail.message_of(session, project, message).state is MessageStatus.SENT


def test_marketing_mail_is_tracked_and_has_an_unsubscribe_link(session: StoreSession) -> None:
    project = mail.new_project(session)
    html = '<p><a href="https://shop.example/a?b=1&amp;c=2">Go</a></p>'
    topic = new_topic(session, project)
    mail.send_one(session, project, kind="marketing", topic_id=topic, html=html)
    capture(session)
    (text,) = captured(session, project)
    made = message_from_string(text)
    assert made["List-Unsubscribe"].strip().startswith(f"<{URL}/u/")
    assert made["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    links = session.place.run_sql("SELECT number, target FROM links")
    assert [target for _, target in links] == ["https://shop.example/a?b=1&c=2"]


def test_a_template_is_rendered_for_the_contact(session: StoreSession) -> None:
    project = mail.new_project(session)
    templates = session.store.messages.templates
    fields = TemplateFields(name="Welcome", channel="email", subject_template="Hi {{ first_name }}")
    template = session.run(templates.create(project, fields, START_US))
    content = VersionContent(subject="Hi {{ first_name }}", text="{{ plan }} for {{ email }}")
    version = session.run(templates.publish(template, content, START_US, actor="me"))
    create_contact(session, project, email="ann@example.net", properties={"first_name": "Ann"})
    members = {"template_version_id": version.id, "subject": None, "text": None}
    message = mail.send_one(session, project, variables={"plan": "Gold"}, **members)
    capture(session)
    (text,) = captured(session, project)
    assert "Subject: Hi Ann" in text
    assert "Gold for ann@example.net" in text
    assert mail.message_of(session, project, message).subject == "Hi Ann"

    # A variable without a value skips the message.
    other = mail.send_one(
        session, project, to="bob@example.net", variables={"plan": "G"}, **members
    )
    capture(session)
    skipped = mail.message_of(session, project, other)
    assert (skipped.state, skipped.reason, skipped.rule) == (
        MessageStatus.SKIPPED,
        "missing_variable",
        "first_name",
    )


def test_a_relay_needs_a_verified_domain(session: StoreSession) -> None:
    project = mail.new_project(session)
    domains = session.store.messages.domains
    made = session.run(
        domains.create(project, "example.org", START_US, dkim=("hr1", ""), actor="me")
    )
    message = mail.send_one(session, project)
    with mail_sink() as sink:
        with_sender(session, lambda: smtp_relay(sink.port), needs_domain=True)
        refused = mail.message_of(session, project, message)
        assert (refused.state, refused.reason) == (MessageStatus.FAILED, "domain_not_verified")
        session.run(domains.verify(project, made.id, START_US, verified_by="me", actor="me"))
        mail.send_one(session, project)
        with_sender(session, lambda: smtp_relay(sink.port), needs_domain=True)
        assert len(sink.mails) == 1


def test_mail_is_signed_with_a_sealed_key(session: StoreSession) -> None:
    project = mail.new_project(session)
    domains = session.store.messages.domains
    keys = session.store.secret_keys
    keys.replace(parse_keys("new-" * 10))
    key = new_dkim_key("example.org", "hr1")
    dkim = ("hr1", key.private_pem.decode())
    made = session.run(
        domains.create(project, "example.org", START_US, dkim=dkim, verified_by="me", actor="me")
    )
    assert made.dkim_key.startswith("sealed:")
    mail.send_one(session, project)
    capture(session)
    (text,) = captured(session, project)
    assert "d=example.org; s=hr1;" in text

    # Without the key the message waits.
    keys.replace(())
    waiting = mail.send_one(session, project)
    capture(session)
    assert mail.message_of(session, project, waiting).state is MessageStatus.SENDING
    assert len(captured(session, project)) == 1


def test_replies_of_the_relay_decide(session: StoreSession) -> None:
    project = mail.new_project(session)
    answers = ["550 5.1.1 no such user", "451 4.7.1 greylisted", "550 5.7.26 unauthenticated"]
    messages = [
        mail.send_one(session, project, to=f"p{number}@example.net")
        for number in range(len(answers))
    ]
    with mail_sink(lambda number: answers[number - 1]) as sink:
        with_sender(session, lambda: smtp_relay(sink.port, connections_max=1), ahead_max=0)
    found = [mail.message_of(session, project, one).state for one in messages]
    assert sorted(found) == ["blocked", "bounced", "deferred"]


def test_unreachable_relay_fails_no_message(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    with mail_sink() as sink:
        port = sink.port
    with_sender(session, lambda: smtp_relay(port))
    waiting = mail.message_of(session, project, message)
    assert (waiting.state, waiting.reason) == (MessageStatus.DEFERRED, "relay_unavailable")
    assert waiting.attempt == 1


def test_many_mails_share_few_connections(session: StoreSession) -> None:
    project = mail.new_project(session)
    for number in range(30):
        mail.send_one(session, project, to=f"p{number}@example.net")
    with mail_sink() as sink:
        sender = with_sender(session, lambda: smtp_relay(sink.port))
    assert (sender.stats.sent, max(sink.counts.values()), len(sink.mails)) == (30, 1, 30)
