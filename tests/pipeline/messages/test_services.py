"""Mail services for the edges: sending, publishing, domains, public links."""

from __future__ import annotations

import pytest

from headrace.domain.access.policies import IdempotencyConflict, Policies
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.errors import ApiError, FieldProblem, invalid
from headrace.domain.messages.email_request import EmailRequest
from headrace.domain.messages.kinds import DomainStatus
from headrace.domain.messages.requests import DomainFields, TemplateFields
from headrace.domain.messages.tokens import OPEN_LINK, UnsubscribeTarget
from headrace.pipeline.messages.mailing import Mailing
from headrace.pipeline.messages.public_links import PublicLinks, Visitor
from headrace.pipeline.messages.sending_domains import SendingDomains
from headrace.pipeline.messages.templating import Templating
from headrace.store.messages.content.links import HONEYPOT_LINK
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact, system_events

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
VISITOR = Visitor("203.0.113.9", "Mozilla/5.0 (X11) Chrome/120.0 Safari/537.36")


class NoRecords:
    async def txt(self, name: str) -> list[str]:
        del name
        return []

    async def mx(self, name: str) -> list[str]:
        del name
        return []


def test_all_problems_of_a_request_are_reported_at_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    mailing = Mailing(session.store, needs_domain=True)
    request = mail.email_request(
        topic_id=ABSENT, kind="marketing", template_version_id=ABSENT, text=None, subject=None
    )
    with pytest.raises(ApiError) as caught:
        session.run(mailing.send(project, request, Policies()))
    fields = [problem.field for problem in caught.value.details]
    assert fields == ["from", "template_version_id", "topic_id"]


def test_a_failing_email_affects_no_other_of_its_batch(session: StoreSession) -> None:
    project = mail.new_project(session)
    mailing = Mailing(session.store, needs_domain=False)
    known = create_contact(session, project)
    requests: list[EmailRequest | ApiError] = [
        mail.email_request(contact_id=ABSENT),
        mail.email_request(contact_id=known.id),
        invalid(FieldProblem("", "is wrong")),
        mail.email_request(topic_id=ABSENT),
        mail.email_request(to="eve@example.net"),
    ]
    outcomes = session.run(mailing.send_batch(project, requests, Policies()))
    good = [not isinstance(one, ApiError) for one in outcomes]
    assert good == [False, True, False, False, True]


def test_a_key_reused_for_something_else_is_rejected_by_policy(
    session: StoreSession,
) -> None:
    project = mail.new_project(session)
    mailing = Mailing(session.store, needs_domain=False)
    policies = Policies(idempotency_conflict=IdempotencyConflict.REJECT)
    session.run(mailing.send(project, mail.email_request(idempotency_key="k"), policies))
    other = mail.email_request(idempotency_key="k", subject="No")
    with pytest.raises(ApiError, match="used for something else"):
        session.run(mailing.send(project, other, policies))


def test_a_template_is_published_and_shown(session: StoreSession) -> None:
    project = mail.new_project(session)
    templates, templating = session.store.messages.templates, Templating(session.store)
    fields = TemplateFields(name="T", channel="email", subject_template="Hi {{ name }}")
    made = session.run(templates.create(project, fields, START_US))
    with pytest.raises(ApiError):
        session.run(templating.publish(project, made.id, actor="me"))
    html = TemplateFields(rendered_html="<p>{{ name | default: 'you' }}</p>")
    session.run(templates.update(project, made.id, html, START_US))
    published = session.run(templating.publish(project, made.id, actor="me"))
    assert published is not None
    assert published.version.number == 1
    assert published.version.content.text == "{{ name | default: 'you' }}"
    again = session.run(templating.publish(project, made.id, actor="me"))
    assert again is not None
    assert again.version.number == 2
    shown = session.run(
        templating.preview(project, made.id, contact_id=None, variables={"name": "Ann"})
    )
    assert shown is not None
    assert (shown.subject, shown.html) == ("Hi Ann", "<p>Ann</p>")
    session.run(templates.update(project, made.id, TemplateFields(rendered_html="new"), 9))
    restored = session.run(templates.restore(project, made.id, 1, START_US))
    assert restored is not None
    assert restored.draft == published.version.draft


def test_a_domain_is_made_and_verified(session: StoreSession) -> None:
    project = mail.new_project(session)
    domains = SendingDomains(session.store, NoRecords(), spf="a:relay.test", bounce_domain=None)
    fields = DomainFields(name="example.org", track_opens=False)
    made = session.run(domains.create(project, fields, verified=False, actor="me"))
    assert (made.status, made.track_opens, made.track_clicks) == (
        DomainStatus.PENDING,
        False,
        True,
    )
    assert domains.records(made)[0].name == "headrace._domainkey.example.org"
    with pytest.raises(ApiError, match="already"):
        session.run(domains.create(project, fields, verified=False, actor="me"))
    checked = session.run(domains.verify(project, made.id, actor="me"))
    assert checked is not None
    assert checked.domain.status is DomainStatus.PENDING
    other = DomainFields(name="example.com")
    taken = session.run(domains.create(project, other, verified=True, actor="me"))
    checked = session.run(domains.verify(project, taken.id, actor="me"))
    assert checked is not None
    assert checked.domain.status is DomainStatus.VERIFIED


def test_links_redirect_and_are_recorded(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session)
    keys = session.run(session.store.messages.keys.get())
    public = PublicLinks(session.store, keys)
    target = "https://shop.example/a?b=1"
    numbers = session.run(session.store.messages.links.numbers(project, [target]))
    token = keys.tracking(message.id, numbers[target])
    assert session.run(public.click(token, VISITOR)) == target
    forged = token[:-1] + ("B" if token[-1] == "A" else "A")
    assert session.run(public.click(forged, VISITOR)) is None
    hidden = keys.tracking(message.id, HONEYPOT_LINK)
    assert session.run(public.click(hidden, VISITOR)) is None
    assert public.open(keys.tracking(message.id, OPEN_LINK), VISITOR)
    assert not public.open(token, VISITOR)
    # The link outlives the message.
    gone = keys.tracking(ABSENT, numbers[target])
    assert session.run(public.click(gone, VISITOR)) == target
    assert session.run(public.flush()) == 4
    rows = session.place.run_sql("SELECT count(*) FROM message_hits")
    assert rows == [(3,)]


def test_viewing_the_unsubscribe_page_changes_nothing(session: StoreSession) -> None:
    project = mail.new_project(session)
    contact = create_contact(session, project)
    fields = TopicFields(name="News", default_subscribed=True)
    topic = session.run(session.store.topics.create(project, fields, START_US))
    keys = session.run(session.store.messages.keys.get())
    public = PublicLinks(session.store, keys)
    target = UnsubscribeTarget(project_id=project, contact_id=contact.id, topic_id=topic.id)
    token = keys.unsubscribe(target)
    page = session.run(public.leave_page(token))
    assert page is not None
    assert page.topic is not None
    assert page.topic.name == "News"
    assert system_events(session, "sendrealm.topic.") == []
    session.run(public.leave(token, everything=False, source="page"))
    assert len(system_events(session, "sendrealm.topic.unsubscribed")) == 1
    assert session.run(public.leave("nonsense", everything=False, source="page")) is False
