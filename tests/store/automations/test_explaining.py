"""Why an event started no run, and what became of send steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.automations.running.explaining import SendVerdict, StartVerdict
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.events.event import NewEvent, Source
from headrace.domain.ids import uuid_text
from headrace.domain.messages.requests import TemplateFields
from headrace.pipeline.automations.explanation import (
    ContactExplanation,
    StartExplanation,
    explain_contact,
    explain_event,
)
from headrace.store.automations.automations import Changes
from headrace.store.contract.automations import Automation
from headrace.store.contract.messages import VersionContent
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait


@pytest.fixture
def shop(session: StoreSession) -> StoredAutomations:
    return StoredAutomations(session)


def of_event(shop: StoredAutomations, event: NewEvent) -> Sequence[StartExplanation]:
    found = shop.session.run(explain_event(shop.session.store, PROJECT, event.id))
    assert found is not None
    return found


def of_contact(shop: StoredAutomations, of: Automation, **of_person: Any) -> ContactExplanation:
    person = shop.contact(**of_person)
    return shop.session.run(explain_contact(shop.session.store, of, person))


def verdict(shop: StoredAutomations, event: NewEvent) -> tuple[str, str]:
    (one,) = of_event(shop, event)
    return one.verdict.value, one.basis.value


def test_started_run_is_named(shop: StoredAutomations) -> None:
    shop.contact()
    of = shop.start_with(chain(delay()))
    event = shop.send()
    (one,) = of_event(shop, event)
    assert (one.verdict, one.run_id) == (StartVerdict.STARTED, shop.runs(of)[0].id)
    assert one.event_id == uuid_text(event.id)


def test_filter_is_evaluated_now_with_its_evidence(shop: StoredAutomations) -> None:
    shop.contact()
    shop.start_with(chain(delay(), trigger={"filters": {"amount_gte": 1000}}))
    event = shop.send(payload={"amount": 400})
    (one,) = of_event(shop, event)
    assert (one.verdict, one.basis) == ("filter_not_met", "evaluated_now")
    assert "amount gte 1000 does not hold" in one.sentence
    assert one.found == "400"
    assert "400" not in one.sentence


def test_rejected_start_is_recorded(shop: StoredAutomations) -> None:
    shop.contact()
    of = shop.start_with(chain(delay(), trigger={"reentry": {"mode": "once"}}))
    shop.send()
    second = shop.send()
    assert verdict(shop, second) == ("reentry_once", "recorded")
    found = of_contact(shop, of)
    assert [each.verdict for each in found.events] == ["reentry_once", "started"]
    old = shop.send(occurred_us=shop.clock() - 10 * 86_400 * 1_000_000)
    assert verdict(shop, old) == ("too_old", "recorded")
    imported = shop.send(source=Source.IMPORT)
    assert verdict(shop, imported) == ("imported", "recorded")


def test_event_on_its_way_says_where_it_is(shop: StoredAutomations) -> None:
    shop.contact()
    shop.start_with(chain(delay()))
    event = shop.accept()
    assert verdict(shop, event) == ("not_processed", "recorded")
    shop.process()
    assert verdict(shop, event) == ("in_inbox", "recorded")
    shop.settle()
    assert verdict(shop, event) == ("started", "recorded")


def test_event_before_the_first_version(shop: StoredAutomations) -> None:
    shop.contact()
    before = shop.send()
    shop.clock.forward(1)
    of = shop.start_with(chain(delay()))
    assert verdict(shop, before) == ("not_active", "evaluated_now")
    shop.clock.forward(1)
    shop.session.run(
        shop.definitions.update(
            PROJECT,
            of.id,
            Changes(draft=json.dumps(chain(delay(), event="come"))),
            shop.clock(),
            actor="tester",
        )
    )
    between = shop.send("come")
    shop.clock.forward(1)
    shop.publish(of)
    assert verdict(shop, between) == ("another_event", "evaluated_now")


def test_matching_event_without_a_record(shop: StoredAutomations) -> None:
    person = shop.contact()
    shop.start_with(chain(delay(), trigger={"filters": {"contact.properties.plan": "pro"}}))
    event = shop.send()
    assert verdict(shop, event) == ("filter_not_met", "evaluated_now")
    shop.contact(properties={"plan": "pro"})
    assert person.id == shop.contact().id
    assert verdict(shop, event) == ("no_record", "evaluated_now")


def test_contact_without_such_events_gets_similar_names(shop: StoredAutomations) -> None:
    shop.contact()
    of = shop.start_with(chain(delay(), event="checkout.started"))
    shop.send("checkout.start")
    found = of_contact(shop, of)
    assert (found.events, found.similar_event_names) == ([], ["checkout.start"])


# Mails.


def mail(**config: Any) -> dict[str, Any]:
    named = {"template": "Hello", "domain": "mail.example.com", "topic": "News"}
    return {"type": "send_email_template", "config": named | config}


@pytest.fixture
def mailing(shop: StoredAutomations) -> StoredAutomations:
    store, now_us = shop.session.store, shop.clock()
    messages = store.messages
    shop.session.run(
        messages.domains.create(
            PROJECT, "mail.example.com", now_us, dkim=("s", ""), verified_by="t", actor="t"
        )
    )
    fields = TemplateFields(name="Hello", channel="email", subject_template="Hi", rendered_text="x")
    template = shop.session.run(messages.templates.create(PROJECT, fields, now_us))
    content = VersionContent(subject="Hi", text="Hi")
    shop.session.run(messages.templates.publish(template, content, now_us, actor="t"))
    topic = TopicFields(name="News", default_subscribed=True)
    shop.session.run(store.topics.create(PROJECT, topic, now_us))
    return shop


def sends(shop: StoredAutomations, of: Automation) -> list[tuple[str, str, str]]:
    (run,) = of_contact(shop, of).runs
    return [(each.step_key, each.verdict.value, each.sentence) for each in run.mails]


def test_skipped_queued_and_later_mails(mailing: StoredAutomations) -> None:
    of = mailing.start_with(chain(mail(), delay(), mail()))
    mailing.contact()
    mailing.send()
    first, later = sends(mailing, of)
    assert first == ("s0", "reached", "Skipped: the contact has no e-mail address.")
    expected = "The run has not come to this step yet. It is at step s1."
    assert later == ("s2", "not_yet", expected)
    mailing.contact(email="ann@example.net")
    mailing.forward(60)
    (_, queued) = sends(mailing, of)
    assert queued == ("s2", "reached", "The mail is queued.")


def test_mail_on_another_branch_and_after_an_exit(mailing: StoredAutomations) -> None:
    definition = chain(wait("done", 60), mail(), exit_on=[{"event_name": "leave"}])
    of = mailing.start_with(definition)
    mailing.contact(email="ann@example.net")
    mailing.send()
    mailing.forward(60)
    ((_, found, sentence),) = sends(mailing, of)
    assert found == SendVerdict.OTHER_BRANCH
    assert sentence == "The run ended at step s0, whose branch timed_out leads nowhere."
    mailing.send(external_id="second")
    mailing.send("leave", external_id="second")
    assert [row.status for row in mailing.runs(of)][:1] == [RunStatus.EXITED]
    person = mailing.contact("second")
    store = mailing.session.store
    (run,) = mailing.session.run(explain_contact(store, of, person)).runs
    assert [each.verdict for each in run.mails] == [SendVerdict.RUN_ENDED]
    assert "exit rule" in run.mails[0].sentence
