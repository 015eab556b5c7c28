"""Warm-up of sending domains: exact for messages begun at once, and each message counts once."""

from __future__ import annotations

import asyncio

import pytest

from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.messages.warm_up import WarmUp, WarmUpChange
from headrace.store.contract.messages import Message, Start, StartResult
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession

DOMAIN = "example.org"
DAY_US = 86_400_000_000


@pytest.fixture
def project(session: StoreSession) -> int:
    return mail.new_project(session)


@pytest.fixture
def topic(session: StoreSession, project: int) -> str:
    fields = TopicFields(name="News", default_subscribed=True)
    return session.run(session.store.topics.create(project, fields, START_US)).id


def new_domain(session: StoreSession, project: int, name: str = DOMAIN) -> str:
    domains = session.store.messages.domains
    made = domains.create(project, name, START_US, dkim=("s", "key"), actor="test")
    return session.run(made).id


def warm_up(
    session: StoreSession, project: int, domain_id: str, change: WarmUpChange
) -> WarmUp | None:
    now_us = session.store.clock_us()
    domains = session.store.messages.domains
    session.run(domains.update(project, domain_id, now_us, warm_up=change, actor="test"))
    return plan_of(session, project)


def plan_of(session: StoreSession, project: int) -> WarmUp | None:
    plans = session.store.messages.warm_ups
    return session.run(plans.get(project, DOMAIN, session.store.clock_us()))


def counted(session: StoreSession, project: int) -> int:
    plan = plan_of(session, project)
    assert plan is not None
    return plan.sent


def send_marketing(session: StoreSession, project: int, topic: str, count: int) -> list[Message]:
    return [
        mail.send_one(
            session, project, to=f"p{number}@example.net", kind="marketing", topic_id=topic
        )
        for number in range(count)
    ]


def test_without_a_plan_nothing_waits(session: StoreSession, project: int, topic: str) -> None:
    new_domain(session, project)
    send_marketing(session, project, topic, 3)
    assert all(mail.start(session, one).attempt for one in mail.claim(session))
    assert plan_of(session, project) is None


def test_the_limit_holds_for_messages_that_two_workers_begin_at_once(
    session: StoreSession, project: int, topic: str
) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=4))
    send_marketing(session, project, topic, 12)
    claims = mail.claim(session, 6, "a/1:1:1"), mail.claim(session, 6, "b/1:1:1")
    outbox = session.store.messages.outbox

    async def at_once() -> list[StartResult]:
        # Two batches of each worker.
        found = await asyncio.gather(
            *(
                outbox.start(
                    f"{name}/1:1:1",
                    [
                        Start(claimed=one, relay="test", subject="")
                        for one in held[begin : begin + 3]
                    ],
                )
                for name, held in zip("ab", claims, strict=True)
                for begin in (0, 3)
            )
        )
        return [result for results in found for result in results.values()]

    results = session.run(at_once())
    assert sum(one.attempt is not None for one in results) == 4
    assert {one.reason for one in results if one.attempt is None} == {"warm_up"}
    assert counted(session, project) == 4


def test_what_waits_says_why_and_is_sent_the_next_day(
    session: StoreSession, project: int, topic: str
) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=1, days=2))
    first, second = send_marketing(session, project, topic, 2)
    for claimed in mail.claim(session):
        mail.start(session, claimed)
    shown = [mail.message_of(session, project, one) for one in (first, second)]
    (waiting,) = [one for one in shown if one.state is MessageStatus.DEFERRED]
    assert (waiting.reason, waiting.rule) == ("warm_up", "1 on day 1 of 2")
    now_us = session.store.clock_us()
    assert waiting.due_us is not None
    midnight_us = (now_us // DAY_US + 1) * DAY_US
    assert midnight_us <= waiting.due_us < midnight_us + 15 * 60 * 1_000_000
    detail = session.run(session.store.messages.lists.detail(project, waiting.id, now_us))
    assert detail is not None
    assert detail.guardrails[-1].reason == "warm_up"

    # As if the plan had begun yesterday.
    session.place.run_sql("UPDATE warm_ups SET started_on = '2020-01-01', day = '2020-01-01'")
    mail.make_due(session, waiting)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).attempt == 1


def test_transactional_mail_counts_and_never_waits(
    session: StoreSession, project: int, topic: str
) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=1))
    for number in range(2):
        mail.send_one(session, project, to=f"t{number}@example.net")
    assert all(mail.start(session, one).attempt for one in mail.claim(session))
    assert counted(session, project) == 2
    send_marketing(session, project, topic, 1)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).reason == "warm_up"


def test_a_retry_is_not_counted_again_and_does_not_wait(
    session: StoreSession, project: int, topic: str
) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=1))
    (message,) = send_marketing(session, project, topic, 1)
    mail.deliver(session, ReplyClass.DEFERRED, code=451)
    mail.make_due(session, message)
    mail.deliver(session)
    assert counted(session, project) == 1


def test_a_message_counts_when_its_first_attempt_did_not_reach_the_relay(
    session: StoreSession, project: int, topic: str
) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=1))
    mail.set_policy(session, project, "send_limit_per_day", 1)
    (message,) = send_marketing(session, project, topic, 1)
    (claimed,) = mail.claim(session)
    # The connection failed before the attempt began.
    mail.record(session, claimed, ReplyClass.RELAY_UNAVAILABLE, attempt=None)
    assert counted(session, project) == 0
    mail.make_due(session, message)
    (claimed,) = mail.claim(session)
    assert mail.start(session, claimed).attempt == 2
    assert counted(session, project) == 1
    assert session.place.run_sql("SELECT sent FROM send_counts") == [(1,)]


def test_other_domains_are_not_limited(session: StoreSession, project: int, topic: str) -> None:
    warm_up(session, project, new_domain(session, project), WarmUpChange(daily_start=1))
    for _ in range(2):
        members = {"kind": "marketing", "topic_id": topic, "from": "news@example.com"}
        mail.send_one(session, project, **members)
    assert all(mail.start(session, one).attempt for one in mail.claim(session))
    assert counted(session, project) == 0


def test_a_plan_is_changed_ended_and_goes_with_its_domain(
    session: StoreSession, project: int
) -> None:
    domain_id = new_domain(session, project)
    begun = warm_up(session, project, domain_id, WarmUpChange())
    assert begun is not None
    assert (begun.daily_start, begun.days, begun.ceiling, begun.sent) == (50, 14, 50, 0)
    changed = warm_up(session, project, domain_id, WarmUpChange(days=20))
    assert changed is not None
    assert (changed.daily_start, changed.days) == (50, 20)
    audited = "SELECT count(*) FROM audit WHERE action = 'domain.warm_up'"
    assert warm_up(session, project, domain_id, WarmUpChange(enabled=False)) is None
    assert session.place.run_sql(audited) == [(3,)]
    warm_up(session, project, domain_id, WarmUpChange())
    now_us = session.store.clock_us()
    assert session.run(session.store.messages.domains.delete(project, domain_id, now_us, actor="x"))
    assert session.place.run_sql("SELECT count(*) FROM warm_ups") == [(0,)]
