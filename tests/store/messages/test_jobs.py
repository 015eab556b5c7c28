"""Sends to audiences: whom they reach, at what rate, and that a kill doubles nobody."""

from __future__ import annotations

import itertools
import json
from typing import Any

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.email_request import EmailRequest, email_of
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.messages.requests import decode_suppression
from headrace.pipeline.messages.audience_sends import AudienceSends
from headrace.store.messages.sending.job_preview import Target
from headrace.store.messages.sending.jobs import SendJob
from headrace.store.messages.sending.message_search import MessageFilter
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact

DAY_US = 86_400_000_000


def audience(session: StoreSession, project_id: int, name: str, people: list[str]) -> str:
    made = session.run(
        session.store.audiences.create(project_id, AudienceFields(name=name), START_US)
    )
    add = session.store.audiences.enter
    if people:
        session.run(add(project_id, made.id, people, START_US))
    return made.id


def people(session: StoreSession, project_id: int, count: int) -> list[str]:
    return [
        create_contact(session, project_id, email=f"p{number}@example.net").id
        for number in range(count)
    ]


def request(*audiences: str, **members: Any) -> EmailRequest:
    body = {"from": "news@example.org", "audiences": list(audiences), "subject": "Hello"}
    body |= {"text": "Hi.", "kind": "marketing"}
    return email_of(body | members, START_US, topicless_marketing=True)


def create(session: StoreSession, project_id: int, wanted: EmailRequest) -> SendJob:
    now_us = session.store.clock_us()
    jobs = session.store.messages.jobs
    return session.run(jobs.create(project_id, wanted, now_us, actor="me"))[0]


def work_off(session: StoreSession, job: SendJob, limit: int = 2) -> int:
    """Slices until it is done; how many."""
    jobs, slices = session.store.messages.jobs, 1
    while session.run(jobs.advance(job.id, limit, session.store.clock_us()))[1]:
        slices += 1
    return slices


def addresses(session: StoreSession) -> list[str]:
    return sorted(row[0] for row in session.place.run_sql("SELECT address FROM messages"))


def test_everybody_of_the_audiences_gets_one_message(session: StoreSession) -> None:
    project = mail.new_project(session)
    ids = people(session, project, 7)
    nameless = create_contact(session, project, external_id="no-address").id
    one = audience(session, project, "one", [*ids[:5], nameless])
    two = audience(session, project, "two", ids[3:])
    out = audience(session, project, "out", ids[:1])
    wanted = request(one, two, excluded_audiences=[out])
    preview = session.run(session.store.messages.jobs.preview(project, wanted))
    assert preview.count == 7
    assert len(preview.sample) == 7

    job = create(session, project, wanted)
    assert (job.status, job.total) == ("running", 7)
    assert work_off(session, job) > 3
    assert addresses(session) == [f"p{number}@example.net" for number in range(1, 7)]
    done = session.run(session.store.messages.jobs.get(project, job.id))
    assert done is not None
    assert (done.status, done.done) == ("done", 10)
    assert session.run(session.store.messages.jobs.running(START_US * 2, 9)) == []


def test_a_draft_waits_until_it_is_started(session: StoreSession) -> None:
    project = mail.new_project(session)
    ids = people(session, project, 5)
    one = audience(session, project, "one", ids[:2])
    jobs, clock_us = session.store.messages.jobs, session.store.clock_us
    job, _, _ = session.run(jobs.create(project, request(one), clock_us(), actor="me", draft=True))
    assert job.status == "draft"
    assert session.run(jobs.running(clock_us(), 9)) == []
    assert session.run(jobs.advance(job.id, 9, clock_us())) == (0, False)
    assert not session.run(jobs.pause(project, job.id, clock_us(), actor="me"))
    # An e-mail without messages is not removed while its job waits.
    session.run(session.store.messages.removal.prune(clock_us() + 400 * DAY_US, 9))
    # Contacts that joined in the meantime are counted.
    session.run(session.store.audiences.enter(project, one, ids[2:], START_US))
    assert session.run(jobs.start(project, job.id, 50, clock_us(), actor="ann"))
    started = session.run(jobs.get(project, job.id))
    assert started is not None
    assert (started.status, started.total, started.per_second) == ("running", 5, 50)
    assert not session.run(jobs.start(project, job.id, 50, clock_us(), actor="ann"))
    work_off(session, job)
    assert len(addresses(session)) == 5


def test_a_paused_job_creates_nothing_until_it_goes_on(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 5))
    jobs, clock_us = session.store.messages.jobs, session.store.clock_us
    job = create(session, project, request(one))
    session.run(jobs.advance(job.id, 2, clock_us()))
    assert session.run(jobs.pause(project, job.id, clock_us(), actor="me"))
    assert session.run(jobs.advance(job.id, 2, clock_us())) == (0, False)
    assert len(addresses(session)) == 2
    assert session.run(jobs.start(project, job.id, None, clock_us(), actor="me"))
    work_off(session, job)
    assert len(addresses(session)) == 5
    assert session.run(jobs.outcomes(job.id)) == [("queued", None, 5)]
    assert not session.run(jobs.pause(project, job.id, clock_us(), actor="me"))
    assert not session.run(jobs.start(project + 1, job.id, None, clock_us(), actor="me"))


def test_a_forecast_counts_by_reason_what_guardrails_say(session: StoreSession) -> None:
    project = mail.new_project(session)
    ids = people(session, project, 6)
    nameless = create_contact(session, project, external_id="no-address").id
    one = audience(session, project, "one", [*ids[:4], nameless])
    two = audience(session, project, "two", ids[3:])
    out = audience(session, project, "out", ids[:1])
    topics = session.store.topics
    fields = TopicFields(name="News", default_subscribed=True)
    topic = session.run(topics.create(project, fields, START_US)).id
    session.run(topics.subscribe(project, ids[1], topic, START_US, wanted=False))
    session.run(topics.opt_out(project, ids[2], START_US))
    suppression = decode_suppression(b'{"email": "p3@example.net", "reason": "asked"}')
    session.run(session.store.messages.suppressions.add(project, suppression, START_US, actor="me"))
    target = Target(audiences=[one, two], excluded=[out], topic_id=topic, domain="example.org")
    previews = session.store.messages.previews
    forecast = session.run(previews.forecast(project, target, START_US))
    assert (forecast.judged, forecast.more, forecast.sent) == (7, False, 2)
    assert forecast.skipped == {
        "excluded": 1,
        "unsubscribed_topic": 1,
        "unsubscribed_all": 1,
        "suppressed_manual": 1,
        "no_address": 1,
    }
    assert forecast.deferred == {}
    paused = ["mail", "a.example"]
    session.run(
        session.store.projects.set_policy(project, "sending_paused", paused, START_US, actor="me")
    )
    forecast = session.run(previews.forecast(project, target, START_US))
    assert (forecast.sent, forecast.deferred) == (0, {"sending_paused": 6})


def test_a_forecast_is_what_the_job_then_does(session: StoreSession) -> None:
    project = mail.new_project(session)
    ids = people(session, project, 3)
    one = audience(session, project, "one", ids)
    session.run(session.store.topics.opt_out(project, ids[0], START_US))
    allowed = ("topicless_marketing", json.loads("true"))
    session.run(session.store.projects.set_policy(project, *allowed, START_US, actor="me"))
    job = create(session, project, request(one))
    target = Target(audiences=[one], excluded=[], topic_id=None, domain="example.org")
    forecast = session.run(session.store.messages.previews.forecast(project, target, START_US))
    assert (forecast.sent, forecast.skipped) == (2, {"unsubscribed_all": 1})
    work_off(session, job)
    found = session.run(
        session.store.messages.search.find(
            project, MessageFilter(email_id=job.id), before=None, limit=9
        )
    )
    assert len(found.messages) == 3


def test_the_same_key_is_the_same_job(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 1))
    jobs, now_us = session.store.messages.jobs, session.store.clock_us()
    first = session.run(jobs.create(project, request(one, idempotency_key="k"), now_us, actor="me"))
    again = session.run(jobs.create(project, request(one, idempotency_key="k"), now_us, actor="me"))
    other = session.run(
        jobs.create(project, request(one, idempotency_key="k", text="No"), now_us, actor="me")
    )
    assert (first[1], again[1:], other[1:]) == (False, (True, False), (True, True))
    assert again[0].id == first[0].id


def test_a_repeated_slice_creates_nothing_twice(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 4))
    job = create(session, project, request(one))
    work_off(session, job)
    session.place.run_sql("UPDATE send_jobs SET place = 0, position = -1, status = 'running'")
    work_off(session, job)
    assert len(addresses(session)) == 4


def test_a_stop_cancels_what_waits(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 6))
    job = create(session, project, request(one))
    jobs = session.store.messages.jobs
    session.run(jobs.advance(job.id, 3, session.store.clock_us()))
    (claimed,) = mail.claim(session, limit=1)
    stopped = session.run(jobs.stop(project, job.id, START_US, actor="me"))
    assert stopped is not None
    assert stopped.status == "stopped"
    assert session.run(jobs.advance(job.id, 3, session.store.clock_us())) == (0, False)
    states = [row[0] for row in session.place.run_sql("SELECT state FROM messages")]
    assert sorted(states) == ["cancelled", "cancelled", "sending"]
    # What was under way goes on.
    mail.set_policy(session, project, "topicless_marketing", value=True)
    assert mail.start(session, claimed).attempt == 1
    mail.record(session, claimed)
    lists = session.store.messages.lists
    assert len(session.run(lists.list(project, state=MessageStatus.SENT, limit=9))) == 1


def test_a_scheduled_job_waits_for_its_time(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 1))
    job = create(session, project, request(one))
    later_us = session.store.clock_us() + 3_600_000_000
    session.place.run_sql("UPDATE send_jobs SET status = 'scheduled', due_us = ?", later_us)
    jobs = session.store.messages.jobs
    assert session.run(jobs.running(later_us - 1, 9)) == []
    assert session.run(jobs.advance(job.id, 3, later_us - 1)) == (0, False)
    assert [each.id for each in session.run(jobs.running(later_us, 9))] == [job.id]
    session.run(jobs.advance(job.id, 3, later_us))
    assert len(addresses(session)) == 1


def test_a_slow_send_makes_the_messages_of_a_second_together(session: StoreSession) -> None:
    project = mail.new_project(session)
    one = audience(session, project, "one", people(session, project, 30))
    now_us = session.store.clock_us()
    jobs = session.store.messages.jobs
    job, _, _ = session.run(jobs.create(project, request(one), now_us, actor="me", draft=True))
    session.run(jobs.start(project, job.id, 5, now_us, actor="me"))
    loop = AudienceSends(jobs, session.store.processing, owner="a", clock_us=lambda: now_us)

    counts = []
    for _ in range(40):
        session.run(loop.run_once())
        counts.append(len(addresses(session)))
        now_us += 100_000

    made = [after - before for before, after in itertools.pairwise([0, *counts])]
    # It starts with the allowance of one: 1 + 3.9 s times 5 a second.
    assert [count for count in made if count] == [5, 5, 5, 5]
    assert made.index(5) == 8
