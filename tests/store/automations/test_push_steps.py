"""What push steps send, and how their runs continue, with a real push service on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.domain.automations.running.states import RunStatus
from headrace.domain.messages.kinds import MessageStatus
from headrace.domain.push.kinds import DeviceState, Platform
from headrace.store.push.materials import PushMaterial
from headrace.store.push.outbox import PushStart
from tests.support import mail
from tests.support.automation_push import ENGLISH, GERMAN, PushShop, push_template, send_push
from tests.support.push_service import Answer, Received, push_service
from tests.support.session import StoreSession
from tests.support.stored_automations import PROJECT, StoredAutomations, chain, delay, wait

ORDER = {"order_id": "o-7"}


@pytest.fixture
def pushing(session: StoreSession) -> Iterator[PushShop]:
    with push_service() as service:
        made = PushShop(StoredAutomations(session), service)
        made.set_up()
        yield made


def refuse(of: PushShop, *statuses: int) -> None:
    """Let the service answer the first pushes so, and take the others."""

    def answer(number: int, _push: Received) -> Answer:
        return Answer(statuses[number - 1] if number <= len(statuses) else 201)

    of.service.answer = answer


def test_every_device_gets_the_push_in_its_language(pushing: PushShop) -> None:
    shop = pushing.shop
    person = shop.contact(properties={"name": "Ann"})
    pushing.register("d1", locale="de-AT")
    pushing.register("d2", locale="fr")
    of = shop.start_with(chain(send_push(urgency="high", ttl_seconds=600), delay(3600)))
    shop.send(payload=ORDER)
    assert pushing.messages() == [("queued", None, person.id, of.id, "s0")]
    assert shop.path(of) == [("s0", None)]

    pushing.work()
    assert shop.path(of) == [("s0", "next"), ("s1", None)]
    texts = {one.path: pushing.payload(one)["notification"] for one in pushing.service.received}
    assert texts == {
        "/push/d1": {"title": "Bestellung o-7", "body": "Wie war es?"},
        "/push/d2": {"title": "Order o-7", "body": "How was it, Ann?"},
    }
    urls = {one["metadata"]["launch_url"] for one in pushing.payloads()}
    assert urls == {"https://shop.example/orders/o-7"}
    heads = {(one.headers["ttl"], one.headers["urgency"]) for one in pushing.service.received}
    assert heads == {("600", "high")}
    sent = shop.events_named("sendrealm.push.send")
    run = shop.detail(of)
    assert {(each["run_id"], each["step_key"]) for each in sent} == {(run.row.id, "s0")}
    assert {each["notification_id"] for each in sent} == set(pushing.ids())
    (message,) = run.messages
    assert (message.state, message.subject) == (MessageStatus.SENT, "Order o-7")


def test_buttons_and_data_are_sent(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1", locale="de")
    pushing.register("d2", locale="en")
    pushing.register("d3", locale="it")
    url = "https://x.example/{{ number }}"
    buttons = [{"id": "go", "text": "Go to {{ number }}", "launch_url": url}]
    german = GERMAN | {"buttons": [{"id": "go", "text": "Los"}]}
    italian = {"locale": "it", "title": "Ciao", "message": "Ciao"}
    data = {"order": ["{{ number }}", 7], "at": {"id": "{{ payload.order_id }}"}}
    push_template(shop, "Full", ENGLISH, german, italian, buttons=buttons, data=data)
    shop.start_with(chain(send_push(template="Full"), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    found = {one.path: pushing.payload(one) for one in pushing.service.received}
    texts = {
        path: [(each["id"], each["text"], each.get("launch_url")) for each in one["actions"]]
        for path, one in found.items()
    }
    own = [("go", "Go to o-7", "https://x.example/o-7")]
    assert texts == {"/push/d1": [("go", "Los", None)], "/push/d2": own, "/push/d3": own}
    assert [one["data"] for one in found.values()] == [
        {"order": ["o-7", 7], "at": {"id": "o-7"}}
    ] * 3


def test_data_without_a_value_skips_the_push(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    push_template(shop, "Full", ENGLISH, data={"a": ["{{ nobody_has_this }}"]})
    of = shop.start_with(chain(send_push(template="Full"), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    (step, _) = shop.detail(of).run.steps
    assert (step.status, step.reason) == ("skipped", "missing_variable")


def test_without_a_device_the_step_is_skipped(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    (step, _) = shop.detail(of).run.steps
    assert (step.status, step.reason, step.branch) == ("skipped", "no_device", "next")
    assert pushing.messages()[0][:2] == ("skipped", "no_device")


def test_devices_that_all_ended_their_subscription_are_none(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    refuse(pushing, 410)
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    (step, _) = shop.detail(of).run.steps
    assert (step.status, step.reason) == ("skipped", "no_device")
    held = shop.session.run(shop.session.store.push.devices.history(pushing.app, "d1"))
    assert held is not None
    assert held.device.state is DeviceState.UNSUBSCRIBED


def test_one_device_of_several_is_enough(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    pushing.register("d2")
    refuse(pushing, 410)
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    assert shop.path(of)[0] == ("s0", "next")
    assert shop.detail(of).run.steps[0].status == "completed"


def test_guardrails_apply_as_to_any_message(pushing: PushShop) -> None:
    shop = pushing.shop
    person = shop.contact()
    pushing.register("d1")
    topics = shop.session.store.topics
    (topic,) = shop.session.run(topics.list(PROJECT, before=None, limit=5))
    work = topics.subscribe(PROJECT, person.id, topic.id, shop.clock(), wanted=False)
    shop.session.run(work)
    step = send_push()
    of = shop.start_with(chain(step, send_push(kind="transactional"), delay(3600)))
    shop.send(payload=ORDER)
    mail.set_policy(shop.session, PROJECT, "sending_paused", "push")
    pushing.work()
    assert pushing.messages()[0][:2] == ("queued", None)
    mail.set_policy(shop.session, PROJECT, "sending_paused", "none")
    pushing.work()
    pushing.work()
    steps = shop.detail(of).run.steps
    assert (steps[0].status, steps[0].reason) == ("skipped", "unsubscribed_topic")
    assert [(each.key, each.status) for each in steps[1:]] == [
        ("s1", "completed"),
        ("s2", "waiting"),
    ]
    assert len(pushing.service.received) == 1


def test_a_template_without_a_value_is_skipped(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload={})
    pushing.work()
    (step, _) = shop.detail(of).run.steps
    assert (step.status, step.reason) == ("skipped", "missing_variable")
    assert pushing.service.received == []


def test_only_languages_of_devices_are_rendered(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1", locale="en")
    other = {"locale": "it", "title": "{{ nobody_has_this }}", "message": "Ciao"}
    push_template(shop, "Half", ENGLISH, other)
    of = shop.start_with(chain(send_push(template="Half"), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    assert shop.path(of)[0] == ("s0", "next")


def test_a_push_that_is_too_large_fails(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload={"order_id": "x" * 4000})
    pushing.work()
    assert shop.detail(of).row.status is RunStatus.FAILED
    assert pushing.messages()[0][:2] == ("failed", "compose")


def test_a_url_with_whitespace_fails(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload={"order_id": "two words"})
    pushing.work()
    assert shop.detail(of).row.status is RunStatus.FAILED
    assert pushing.service.received == []


def test_an_open_of_its_own_push_resumes_the_run(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    opened = wait("sendrealm.push.open", 3600)
    of = shop.start_with(chain(send_push(), opened, delay(3600)))
    other = shop.start_with(chain(send_push(), delay(3600), event="other"), "other")
    shop.send("other", ORDER)
    pushing.work()
    shop.send(payload=ORDER)
    pushing.work()
    foreign, own = pushing.ids()
    assert foreign != own
    pushing.tap("d1", foreign)
    assert shop.path(of)[1] == ("s1", None)
    pushing.tap("d1", own)
    assert shop.path(of)[1] == ("s1", "received")
    (_, event) = shop.events_named("sendrealm.push.open")
    assert event["run_id"] == shop.runs(of)[0].id
    assert (event["notification_id"], event["step_key"]) == (own, "s0")
    assert shop.runs(other)[0].status is RunStatus.WAITING


def test_a_killed_worker_repeats_the_same_notification(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload=ORDER)
    materials = shop.session.store.push.materials
    # It dies after the row of the attempt, so that nobody knows whether the service got it.
    (claimed,) = shop.session.run(pushing.outbox.claim("dead", 10))
    material = shop.session.run(materials.read([claimed]))[claimed.message.id]
    assert isinstance(material, PushMaterial)
    (destination,) = material.destinations
    start = PushStart(
        claimed=claimed,
        relay="push",
        subject="",
        push=material.push,
        destinations=material.destinations,
    )
    started = shop.session.run(pushing.outbox.start("dead", [start]))
    assert started[claimed.message.id].attempt == 1
    # A runner that starts again does not queue a second message either.
    shop.work = shop.new_work()
    shop.forward(60)
    assert shop.session.run(pushing.outbox.rescue(10)) == 1
    shop.forward(3600)
    pushing.work()
    assert pushing.ids() == [destination.notification_id]
    assert [row[0] for row in pushing.messages()] == ["sent"]
    assert pushing.notifications() == ["sent"]
    assert shop.path(of)[0] == ("s0", "next")


def test_a_retry_by_an_operator_sends_the_same_notification(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    refuse(pushing, 400)
    of = shop.start_with(chain(send_push(), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    (run,) = shop.runs(of)
    assert run.status is RunStatus.FAILED
    assert shop.session.run(shop.operations().retry(PROJECT, run.id, "try", actor="tester"))
    pushing.work()
    assert shop.path(of)[0] == ("s0", "next")
    first, second = pushing.ids()
    assert first == second
    assert pushing.notifications() == ["sent"]


def test_an_exit_cancels_a_push_that_waits(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    refuse(pushing, 503)
    shop.start_with(chain(send_push(), exit_on=[{"event_name": "bought"}]))
    shop.send(payload=ORDER)
    pushing.work()
    assert pushing.notifications() == ["deferred"]
    shop.send("bought")
    assert pushing.messages()[0][:2] == ("cancelled", "cancelled_by")
    assert pushing.notifications() == ["cancelled"]
    shop.forward(3600)
    pushing.work()
    assert len(pushing.service.received) == 1


def test_other_platforms_fail_and_say_so(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1", platform=Platform.ANDROID)
    of = shop.start_with(chain(send_push(on_failed="next"), delay(3600)))
    shop.send(payload=ORDER)
    pushing.work()
    assert shop.detail(of).run.steps[0].status == "failed"
    assert pushing.messages()[0][:2] == ("failed", "not_supported")


def test_an_app_that_is_gone_skips_the_step(pushing: PushShop) -> None:
    shop = pushing.shop
    shop.contact()
    pushing.register("d1")
    of = shop.start_with(chain(send_push(), delay(3600)))
    apps = shop.session.store.push.apps
    shop.session.run(apps.delete(PROJECT, pushing.app, shop.clock(), force=True, actor="t"))
    shop.send(payload=ORDER)
    pushing.work()
    (step, _) = shop.detail(of).run.steps
    assert (step.status, step.reason) == ("skipped", "gone")


def test_publishing_names_what_is_missing(pushing: PushShop) -> None:
    shop = pushing.shop
    step = send_push(app="no app", template="no template")
    checked = shop.publish(shop.create(chain(step)))
    fields = [each.field for each in checked.report.problems]
    assert fields == [
        "definition.steps[0].config.template",
        "definition.steps[0].config.app",
    ]
    by_id = shop.publish(shop.create(chain(send_push(app=None, app_id=pushing.app)), "by id"))
    assert by_id.report.problems == ()
