"""Sends to audiences: whom they reach, at what rate, and that a kill doubles nobody."""

from __future__ import annotations

from typing import Any

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.messages.email_request import EmailRequest, email_of
from headrace.domain.messages.kinds import MessageStatus
from headrace.store.messages.sending.jobs import SendJob
from tests.support import mail
from tests.support.events import START_US
from tests.support.session import StoreSession
from tests.support.stored_contacts import create_contact


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
