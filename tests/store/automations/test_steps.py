"""What steps do to contacts, audiences, topics, events and mail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headrace.domain.automations.running.states import Outcome, RunStatus
from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.messages.kinds import MessageStatus
from tests.support.automation_mail import finish, messages, send_mail, set_up_mail
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def update(**config: Any) -> dict[str, Any]:
    return {"type": "contact_update", "config": config}


def test_contact_update_writes_once_with_its_event(shop: StoredAutomations) -> None:
    person = shop.contact(properties={"old": 1})
    step = update(
        set={"properties.plan": {"from": "trigger.payload.plan"}}, unset=["properties.old"]
    )
    of = shop.start_with(chain(step, delay(5)))
    shop.send(payload={"plan": "pro"})
    changed = shop.session.run(shop.session.store.contacts.get(PROJECT, person.id))
    assert changed is not None
    assert changed.properties == {"plan": "pro"}
    (event,) = shop.events_named("sendrealm.contact.updated")
    assert event["source"] == "automation"
    assert event["caused_by"] == {"run_id": shop.runs(of)[0].id, "depth": 1}


def test_identifier_of_another_contact_is_not_taken(shop: StoredAutomations) -> None:
    shop.contact("customer-2", email="bob@example.net")
    person = shop.contact()
    step = update(set={"email": "bob@example.net", "properties.plan": "pro"})
    known = {"type": "condition", "config": {"filters": {"contact.email_exists": True}}}
    of = shop.start_with(chain(step, known))
    shop.send()
    changed = shop.session.run(shop.session.store.contacts.get(PROJECT, person.id))
    assert changed is not None
    assert (changed.email, changed.properties) == (None, {"plan": "pro"})
    # The condition sees the contact as it is.
    assert shop.path(of)[-1] == ("s1", "false")


def test_audience_by_name(shop: StoredAutomations) -> None:
    audiences = shop.session.store.audiences
    made = shop.session.run(audiences.create(PROJECT, AudienceFields(name="VIP"), shop.clock()))
    person = shop.contact()
    enter = {"type": "add_to_audience", "config": {"audience": "VIP"}}
    inside = {"type": "condition", "config": {"filters": {"contact.in_audience": "VIP"}}}
    leave = {"type": "remove_from_audience", "config": {"audience": "VIP"}}
    of = shop.start_with(chain(enter, inside, delay(5), leave))
    shop.send()
    assert shop.path(of)[1] == ("s1", "true")
    rows = shop.session.place.run_sql("SELECT audience_id, contact_id FROM audience_members")
    assert rows == [(made.id, person.id)]
    shop.forward(5)
    assert shop.session.place.run_sql("SELECT audience_id FROM audience_members") == []
    assert len(shop.events_named("sendrealm.audience.entered")) == 1
    assert len(shop.events_named("sendrealm.audience.exited")) == 1


def test_topic_is_never_subscribed_against_the_own_choice(shop: StoredAutomations) -> None:
    topics = shop.session.store.topics
    topic = shop.session.run(topics.create(PROJECT, TopicFields(name="News"), shop.clock()))
    step = {"type": "set_topic_subscription", "config": {"topic": "News", "is_subscribed": True}}
    of = shop.start_with(chain(step))
    for name, choice in (("a", None), ("b", False)):
        person = shop.contact(name)
        if choice is not None:
            work = topics.subscribe(PROJECT, person.id, topic.id, shop.clock(), wanted=choice)
            shop.session.run(work)
        shop.send(external_id=name)
    outcomes = {row.contact_id: row.outcome for row in shop.runs(of)}
    assert sorted(str(each) for each in outcomes.values()) == ["clean", "with_skips"]


def test_emitted_event_resumes_another_automation(shop: StoredAutomations) -> None:
    emit = {
        "type": "emit_event",
        "config": {"event_name": "told", "payload": {"n": {"from": "trigger.payload.n"}}},
    }
    other = shop.start_with(chain(wait("told", 60), delay(5), event="begin"), "other")
    shop.send("begin")
    shop.start_with(chain(emit))
    shop.send(payload={"n": 1})
    assert shop.path(other)[0] == ("s0", "received")
    (event,) = shop.events_named("told")
    assert event["n"] == 1


# Mail.


@pytest.fixture
def mailing(shop: StoredAutomations) -> StoredAutomations:
    set_up_mail(shop)
    return shop


def test_mail_is_queued_once_and_continues_when_sent(mailing: StoredAutomations) -> None:
    shop = mailing
    shop.contact(email="Ann@example.net")
    of = shop.start_with(chain(send_mail(variables={"name": "trigger.payload.name"}), delay(5)))
    shop.send(payload={"name": "Ann", "n": 1.5})
    ((_, state, address, run_id, step_key, _),) = messages(shop)
    assert (state, address, step_key) == ("queued", "ann@example.net", "s0")
    assert run_id == shop.runs(of)[0].id
    shop.forward(60)
    assert shop.path(of) == [("s0", None)]
    finish(shop, MessageStatus.SENT)
    shop.forward(60)
    assert shop.path(of)[0] == ("s0", "next")
    assert len(messages(shop)) == 1


def test_mail_without_address_is_skipped(mailing: StoredAutomations) -> None:
    of = mailing.start_with(chain(send_mail(), delay(5)))
    mailing.send()
    assert messages(mailing) == []
    (step, _) = mailing.detail(of).run.steps
    assert (step.status, step.reason, step.branch) == ("skipped", "no_address", "next")
    mailing.forward(5)
    assert mailing.detail(of).row.outcome is Outcome.WITH_SKIPS


@pytest.mark.parametrize(
    ("state", "reason", "status"),
    [
        (MessageStatus.SKIPPED, "unsubscribed_topic", RunStatus.WAITING),
        (MessageStatus.FAILED, "sender_refused", RunStatus.FAILED),
        (MessageStatus.CANCELLED, "cancelled_by", RunStatus.FAILED),
    ],
)
def test_result_of_a_mail_decides(
    mailing: StoredAutomations, state: MessageStatus, reason: str, status: RunStatus
) -> None:
    mailing.contact(email="ann@example.net")
    of = mailing.start_with(chain(send_mail(), delay(3600)))
    mailing.send()
    finish(mailing, state, reason)
    mailing.forward(60)
    assert mailing.detail(of).row.status is status


def test_exit_cancels_a_mail_that_is_still_queued(mailing: StoredAutomations) -> None:
    mailing.contact(email="ann@example.net")
    mailing.start_with(chain(send_mail(), exit_on=[{"event_name": "bought"}]))
    mailing.send()
    mailing.send("bought")
    assert [row[1] for row in messages(mailing)] == ["cancelled"]


def test_wait_for_an_open_takes_that_of_its_own_mail(mailing: StoredAutomations) -> None:
    shop = mailing
    person = shop.contact(email="ann@example.net")
    of = shop.start_with(chain(send_mail(), wait("sendrealm.mail.open", 600), delay(5)))
    shop.send()
    finish(shop, MessageStatus.SENT)
    shop.forward(60)
    run_id = shop.runs(of)[0].id

    def opened(of_run: str) -> None:
        payload = {"run_id": of_run, "step_key": "s0", "verdict": "person"}
        shop.send("sendrealm.mail.open", payload, contact_id=person.id, external_id=None)

    opened("another")
    assert shop.path(of)[1] == ("s1", None)
    opened(run_id)
    assert shop.path(of)[1] == ("s1", "received")


def test_names_that_do_not_exist_prevent_publishing(shop: StoredAutomations) -> None:
    checked = shop.publish(shop.create(chain(send_mail())))
    assert sorted({each.code.value for each in checked.report.problems}) == ["not_found"]
    assert len(checked.report.problems) == 3
    assert msgspec.to_builtins(checked.automation.status) == "draft"
