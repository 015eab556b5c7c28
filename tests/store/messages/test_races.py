"""What happens at once, on stores where it really does."""

from __future__ import annotations

import asyncio

from headrace.domain.contacts.topics import TopicFields
from headrace.store.contract.messages import Start
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession


def new_topic(session: StoreSession, project_id: int) -> str:
    fields = TopicFields(name="News", default_subscribed=True)
    return session.run(session.store.topics.create(project_id, fields, START_US)).id


def test_of_many_requests_with_one_key_one_sends(session: StoreSession) -> None:
    project = mail.new_project(session)
    request = mail.email_request(idempotency_key="k", cc=["bob@example.net"])
    emails = session.store.messages.emails

    async def at_once() -> list[str]:
        sends = (emails.send(project, request, mail.CONTEXT, START_US) for _ in range(8))
        sent = await asyncio.gather(*sends)
        assert sum(not one.deduplicated for one in sent) == 1
        return [one.email.id for one in sent]

    assert len(set(session.run(at_once()))) == 1
    assert session.place.run_sql("SELECT count(*) FROM messages") == [(2,)]
    assert session.place.run_sql("SELECT count(*) FROM contacts") == [(2,)]


def test_a_cap_holds_for_messages_that_are_begun_at_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    topic = new_topic(session, project)
    cap = {"channel": "mail", "max": 1, "per_seconds": 3600, "on_cap": "skip"}
    mail.set_policy(session, project, "frequency_caps", [cap])
    for _ in range(6):
        mail.send_one(session, project, kind="marketing", topic_id=topic)
    claims = mail.claim(session)
    outbox = session.store.messages.outbox

    async def at_once() -> list[int | None]:
        starts = (
            outbox.start(mail.OWNER, [Start(claimed=one, relay="test", subject="")])
            for one in claims
        )
        found = await asyncio.gather(*starts)
        return [result.attempt for results in found for result in results.values()]

    assert sorted(map(bool, session.run(at_once()))) == [False] * 5 + [True]


def test_a_daily_limit_holds_for_messages_that_are_begun_at_once(session: StoreSession) -> None:
    project = mail.new_project(session)
    mail.set_policy(session, project, "send_limit_per_day", 2)
    for number in range(6):
        mail.send_one(session, project, to=f"p{number}@example.net")
    claims = mail.claim(session)
    outbox = session.store.messages.outbox

    async def at_once() -> list[int | None]:
        starts = (
            outbox.start(mail.OWNER, [Start(claimed=one, relay="test", subject="")])
            for one in claims
        )
        found = await asyncio.gather(*starts)
        return [result.attempt for results in found for result in results.values()]

    assert sorted(map(bool, session.run(at_once()))) == [False] * 4 + [True] * 2


def test_of_two_workers_that_claim_at_once_one_gets_each_message(session: StoreSession) -> None:
    project = mail.new_project(session)
    for number in range(10):
        mail.send_one(session, project, to=f"p{number}@example.net")
    outbox = session.store.messages.outbox

    async def at_once() -> list[str]:
        found = await asyncio.gather(
            *(outbox.claim(f"{name}/1:1:1", 10) for name in ("a", "b", "c"))
        )
        return [one.message.id for claims in found for one in claims]

    ids = session.run(at_once())
    assert len(ids) == len(set(ids)) == 10
