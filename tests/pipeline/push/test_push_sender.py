"""Pushes from request to service, on every store, with a real service on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.domain.contacts.audiences import AudienceFields
from headrace.domain.contacts.topics import TopicFields
from headrace.domain.push.kinds import DeviceState, Platform
from headrace.store.push import jobs
from tests.support import mail, pushes
from tests.support.events import START_US
from tests.support.push_service import Answer, PushService, Received, push_service
from tests.support.session import StoreSession

OWNER = mail.OWNER


class Shop:
    """A project with one push app and a push service."""

    def __init__(self, session: StoreSession, service: PushService) -> None:
        self.session = session
        self.service = service
        self.project = mail.new_project(session)
        self.app = pushes.new_app(session, self.project)

    def register(self, device_id: str, **options: Any) -> str | None:
        browser = self.service.subscription(device_id)
        self.browsers = getattr(self, "browsers", {}) | {f"/push/{device_id}": browser}
        return pushes.register(self.session, self.project, self.app, device_id, browser, **options)

    def send(self, **members: Any) -> Any:
        return pushes.send(self.session, self.project, self.app, **members)

    def work(self, rounds: int = 1) -> Any:
        return pushes.work(self.session, self.service.origin, OWNER, rounds)

    def payloads(self) -> list[dict[str, Any]]:
        """What each browser got, in order of arrival."""
        return [
            json.loads(self.browsers[one.path].decrypt(one.body))["sendrealm_v1"]
            for one in self.service.received
        ]

    def device(self, device_id: str) -> Any:
        found = self.session.run(self.session.store.push.devices.history(self.app, device_id))
        assert found is not None
        return found.device


def test_every_device_of_a_contact_gets_one_in_its_language(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        shop.register("d1", locale="de-AT")
        contact = shop.register("d2", locale="en-US")
        shop.register("d3", external_id="bob")
        german = {"code": "de", "title": "Hallo", "body": "Da"}
        sent = shop.send(messages=[german], data={"n": 1}, idempotency_key="order-7")
        assert sent.states == {"queued": 2}
        shop.work()
        got = {one["metadata"]["notification_id"]: one for one in shop.payloads()}
        titles = sorted(one["notification"]["title"] for one in got.values())
        assert titles == ["Hallo", "Hello"]
        assert pushes.states(session, sent) == {"sent": 2}
        events = pushes.system_events(session, "sendrealm.push.send")
        assert {each["notification_id"] for each in events} == set(got)
        assert {each["device_id"] for each in events} == {"d1", "d2"}
        assert {(each["contact_id"], each["app_id"]) for each in events} == {(contact, shop.app)}
        assert shop.device("d1").sent_us is not None
        (message,) = session.run(session.store.messages.lists.list(shop.project, limit=5))
        assert (message.channel.value, message.state.value) == ("push", "sent")

        again = shop.send(messages=[german], data={"n": 1}, idempotency_key="order-7")
        assert (again.id, again.deduplicated, again.mismatch) == (sent.id, True, False)
        assert again.states == {"sent": 2}
        other = shop.send(idempotency_key="order-7")
        assert (other.id, other.mismatch) == (sent.id, True)
        shop.work()
        assert len(service.received) == 2


def test_every_style_of_targets(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        contact = shop.register("d1")
        shop.register("anonymous", external_id=None)
        raw = service.subscription("raw")
        shop.browsers["/push/raw"] = raw
        keys = {"p256dh": raw.p256dh, "auth": raw.auth}
        nobody = "0190a1b2-0000-7000-8000-000000000001"
        by_contact = shop.send(contact_ids=[contact, nobody])
        assert (by_contact.counts.targets, by_contact.counts.unknown) == (2, 1)
        by_email = shop.send(emails=["unknown@example.net"])
        assert by_email.counts.unknown == 1
        shop.send(device_ids=["anonymous", "no-such-device"])
        shop.send(web_subscriptions=[{"endpoint": raw.endpoint, "keys": keys}])
        shop.work()
        assert sorted(one.path for one in service.received) == [
            *("/push/anonymous", "/push/d1", "/push/raw"),
        ]
        assert len(shop.payloads()) == 3


def test_an_audience_is_sent_to_in_slices(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        store = session.store
        members = [shop.register(f"d{one}", external_id=f"p{one}") or "" for one in range(5)]
        audiences = []
        for name, inside in (("all", members), ("some", members[:2])):
            made = session.run(
                store.audiences.create(shop.project, AudienceFields(name=name), START_US)
            )
            session.run(store.audiences.enter(shop.project, made.id, inside, START_US))
            audiences.append(made.id)
        sent = shop.send(audiences=audiences[:1], excluded_audiences=audiences[1:])
        assert (sent.job_status, sent.counts.targets) == ("running", 3)
        while session.run(store.push.jobs.advance(sent.id, 2, store.clock_us()))[1]:
            shop.work()
        shop.work()
        assert sorted(one.path for one in service.received) == ["/push/d2", "/push/d3", "/push/d4"]
        assert pushes.states(session, sent) == {"sent": 3}


def test_opt_outs_apply_to_addresses_of_registered_devices(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        topic = session.run(
            session.store.topics.create(
                shop.project, TopicFields(name="News", default_subscribed=True), START_US
            )
        )
        people = {name: shop.register(name, external_id=name) or "" for name in ("ann", "bob")}
        shop.register("nobody", external_id=None)
        choose = session.store.topics.subscribe
        session.run(choose(shop.project, people["ann"], topic.id, START_US, wanted=False))
        browsers = {path.rpartition("/")[2]: one for path, one in shop.browsers.items()}
        browsers["unknown"] = shop.browsers["/push/unknown"] = service.subscription("unknown")
        given = [
            {"endpoint": one.endpoint, "keys": {"p256dh": one.p256dh, "auth": one.auth}}
            for one in browsers.values()
        ]
        sent = shop.send(web_subscriptions=given, kind="marketing", topic_id=topic.id)
        contacts = {each.contact_id for each in sent.notifications}
        assert contacts == {*people.values(), None}
        shop.work()
        assert [one.path for one in service.received] == ["/push/bob"]
        reasons = {
            each.contact_id: each.reason for each in pushes.found(session, sent).notifications
        }
        # Nobody is known who could have agreed to marketing at the other two.
        assert reasons == {
            people["ann"]: "unsubscribed_topic",
            people["bob"]: None,
            None: "no_contact",
        }
        # Devices of another app are others.
        other = pushes.new_app(session, shop.project, "other")
        foreign = pushes.send(session, shop.project, other, web_subscriptions=given)
        assert {each.contact_id for each in foreign.notifications} == {None}


def stop(shop: Shop, push_id: str, project_id: int | None = None) -> Any:
    store = shop.session.store
    work = store.push.jobs.stop(
        project_id or shop.project, push_id, store.clock_us(), actor="tester"
    )
    return shop.session.run(work)


def test_a_stopped_send_to_an_audience_makes_and_sends_no_more(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        store = session.store
        members = [shop.register(f"d{one}", external_id=f"p{one}") or "" for one in range(6)]
        audience = session.run(
            store.audiences.create(shop.project, AudienceFields(name="all"), START_US)
        )
        session.run(store.audiences.enter(shop.project, audience.id, members, START_US))
        sent = shop.send(audiences=[audience.id])
        session.run(store.push.jobs.advance(sent.id, 2, store.clock_us()))
        shop.work()
        assert len(service.received) == 2
        session.run(store.push.jobs.advance(sent.id, 2, store.clock_us()))

        stopped = stop(shop, sent.id)
        assert (stopped.job_status, stopped.counts.stopped) == ("stopped", True)
        assert stopped.states == {"sent": 2, "cancelled": 2}
        assert session.run(store.push.jobs.advance(sent.id, 2, store.clock_us())) == (0, False)
        shop.work()
        assert len(service.received) == 2
        rows = session.place.run_sql("SELECT state FROM messages ORDER BY state")
        assert [row[0] for row in rows] == ["cancelled", "cancelled", "sent", "sent"]
        # A repeat changes nothing, and is not audited again.
        assert stop(shop, sent.id).states == stopped.states
        audited = session.place.run_sql("SELECT action FROM audit WHERE action = 'push.stop'")
        assert len(list(audited)) == 1


def test_a_stopped_push_reaches_nobody_who_registers_later(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        ann = shop.register("d1")
        shop.register("bob1", external_id="bob")
        bob = shop.register("bob2", external_id="bob")
        sent = shop.send(contact_ids=[ann, bob])
        work = session.store.push.devices.history(shop.app, "d1")
        assert session.run(work) is not None
        # As if nobody had had a device yet: there is no notification that could be cancelled.
        session.place.run_sql("DELETE FROM push_notifications WHERE contact_id = ?", ann)
        assert stop(shop, sent.id).states == {"cancelled": 2}
        shop.work()
        assert service.received == []
        rows = session.place.run_sql("SELECT DISTINCT state, reason FROM messages")
        assert [tuple(row) for row in rows] == [("cancelled", "cancelled_by")]


def test_a_stop_cancels_slice_by_slice(
    session: StoreSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "CANCELLED_MAX", 4)
    monkeypatch.setattr(jobs, "CANCEL_SLICE", 2)
    with push_service() as service:
        shop = Shop(session, service)
        people = [f"p{one}" for one in range(5)]
        for person in people:
            shop.register(f"d-{person}", external_id=person)
        sent = shop.send(external_ids=people)
        assert stop(shop, sent.id).states == {"cancelled": 4, "queued": 1}
        shop.work()
        assert service.received == []
        assert pushes.states(session, sent) == {"cancelled": 5}


def test_a_push_of_another_project_is_not_stopped(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        shop.register("d1")
        sent = shop.send()
        assert stop(shop, sent.id, shop.project + 1) is None
        assert stop(shop, "0190a1b2-0000-7000-8000-000000000001") is None
        shop.work()
        assert len(service.received) == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_subscription_that_ended_unsubscribes_its_device_only(
    session: StoreSession, status: int
) -> None:
    def answer(_number: int, push: Received) -> Answer:
        return Answer(status if push.path == "/push/d1" else 201)

    with push_service(answer) as service:
        shop = Shop(session, service)
        shop.register("d1")
        shop.register("d2")
        sent = shop.send()
        shop.work()
        assert pushes.states(session, sent) == {"sent": 1, "failed": 1}
        assert shop.device("d1").state is DeviceState.UNSUBSCRIBED
        assert (shop.device("d1").reason, shop.device("d1").failure) == ("gone", "gone")
        assert shop.device("d2").state is DeviceState.SUBSCRIBED
        shop.send()
        shop.work()
        assert [one.path for one in service.received].count("/push/d1") == 1


def test_devices_of_a_service_that_is_down_are_retried_alone(session: StoreSession) -> None:
    def answer(number: int, push: Received) -> Answer:
        return Answer(503 if push.path == "/push/d1" and number <= 2 else 201)

    with push_service(answer) as service:
        shop = Shop(session, service)
        shop.register("d1")
        shop.register("d2")
        sent = shop.send()
        shop.work()
        assert pushes.states(session, sent) == {"sent": 1, "deferred": 1}
        (message,) = session.run(session.store.messages.lists.list(shop.project, limit=5))
        assert message.state.value == "sent"
        assert message.due_us is not None
        pushes.make_due(session)
        shop.work()
        assert pushes.states(session, sent) == {"sent": 2}
        assert sorted(one.path for one in service.received) == ["/push/d1", "/push/d1", "/push/d2"]
        ids = {one.path: one.headers["topic"] for one in service.received}
        repeated = [one.headers["topic"] for one in service.received if one.path == "/push/d1"]
        assert set(repeated) == {ids["/push/d1"]}
        assert len(pushes.system_events(session, "sendrealm.push.send")) == 2


@pytest.mark.parametrize(
    ("status", "state"), [(400, "failed"), (401, "blocked"), (403, "blocked"), (413, "failed")]
)
def test_our_mistakes_end_the_message_and_keep_the_device(
    session: StoreSession, status: int, state: str
) -> None:
    with push_service(lambda _number, _push: Answer(status)) as service:
        shop = Shop(session, service)
        shop.register("d1")
        sent = shop.send()
        shop.work()
        assert pushes.states(session, sent) == {"failed": 1}
        (message,) = session.run(session.store.messages.lists.list(shop.project, limit=5))
        assert message.state.value == state
        detail = session.run(
            session.store.messages.lists.detail(shop.project, message.id, session.store.clock_us())
        )
        assert detail is not None
        assert [one.code for one in detail.attempts] == [status]
        assert shop.device("d1").state is DeviceState.SUBSCRIBED


def test_guardrails_hold_back_pushes_as_they_do_mail(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        contact = shop.register("d1")
        topic = session.run(
            session.store.topics.create(
                shop.project, TopicFields(name="News", default_subscribed=False), START_US
            )
        )
        without = shop.send(external_ids=["ann"], platforms=["ios"])
        marketing = shop.send(kind="marketing", topic_id=topic.id)
        mail.set_policy(session, shop.project, "optional_events", ["sendrealm.push.skip"])
        shop.work()
        assert pushes.states(session, without) == {}
        assert pushes.states(session, marketing) == {"skipped": 1}
        reasons = [each["reason"] for each in pushes.system_events(session, "sendrealm.push.skip")]
        assert sorted(reasons) == ["no_device", "unsubscribed_topic"]

        mail.set_policy(session, shop.project, "sending_paused", "push")
        paused = shop.send()
        shop.work()
        assert pushes.states(session, paused) == {"queued": 1}
        mail.set_policy(session, shop.project, "sending_paused", "none")
        caps = [{"channel": "push", "max": 1, "per_seconds": 3600}]
        mail.set_policy(session, shop.project, "frequency_caps", caps)
        shop.register("d2")
        first = shop.send(kind="marketing")
        shop.work()
        second = shop.send(kind="marketing")
        shop.work()
        # A push to two devices counts once for the contact.
        assert pushes.states(session, first) == {"sent": 2}
        assert pushes.states(session, second) == {"skipped": 2}
        assert contact is not None


def test_devices_that_are_not_sent_to_say_why(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        pushes.register(
            session, shop.project, shop.app, "phone", "token", platform=Platform.ANDROID
        )
        sent = shop.send()
        shop.work()
        found = session.run(session.store.push.sends.get(shop.project, sent.id))
        assert found is not None
        assert [(one.state, one.reason) for one in found.notifications] == [
            ("failed", "not_supported")
        ]


def test_a_service_that_fails_is_left_alone(session: StoreSession) -> None:
    with push_service(lambda _number, _push: Answer(500)) as service:
        shop = Shop(session, service)
        shop.register("d1")
        for number in range(5):
            shop.send(idempotency_key=f"push-{number}")
        sender = shop.work()
        assert len(service.received) == 5
        assert sender.pacing.free_us(f"127.0.0.1:{service.port}") > 0


def test_a_device_registered_after_the_request_gets_it_too(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        shop.register("d1")
        sent = shop.send()
        shop.register("d2")
        shop.work()
        assert pushes.states(session, sent) == {"sent": 2}


def test_what_a_push_said_goes_with_its_last_notification(session: StoreSession) -> None:
    with push_service() as service:
        shop = Shop(session, service)
        shop.register("d1")
        sent = shop.send()
        shop.send(emails=["nobody@example.net"])
        shop.work()
        store = session.store
        after_us = store.clock_us() + 91 * 86_400_000_000
        assert session.run(store.push.sends.prune(store.clock_us(), 10)) == 0
        # The other one has no notification.
        assert session.run(store.push.sends.prune(after_us, 10)) == 1
        assert session.run(store.push.sends.get(shop.project, sent.id)) is not None
        session.run(store.push.removal.prune(after_us, 10))
        assert session.place.run_sql("SELECT count(*) FROM push_sends")[0][0] == 0
