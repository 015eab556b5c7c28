"""Alerts in a store: what starts and ends them, once, over restarts; and their notices."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from headrace.delivery.mail.relay import open_relay
from headrace.delivery.mail.relay_url import parse_relay_url
from headrace.delivery.webhook.addresses import parse_networks
from headrace.delivery.webhook.calls import WebhookCalls
from headrace.domain.access.sealing import KeyRing
from headrace.domain.messages.smtp_replies import ReplyClass
from headrace.domain.upkeep.alerts import AlertKind, AlertState, Edge, Level, Reading
from headrace.pipeline.upkeep.alert_mail import mail_channel
from headrace.pipeline.upkeep.alert_watch import AlertWatch, Channel, webhook_channel
from headrace.store.upkeep.alerts import Alert, Notice
from tests.delivery.receiver import Exchange, receiver
from tests.support import mail
from tests.support.deliveries import Queue, failure
from tests.support.events import START_US
from tests.support.mail_sink import mail_sink
from tests.support.session import StoreSession

SECOND_US = 1_000_000
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
KIND = AlertKind.DEAD_LETTERS_GROWING


def reading(level: Level = Level.BAD, **fields: Any) -> Reading:
    values: dict[str, Any] = {"project_id": 1, "kind": KIND, "detail": "12 new"} | fields
    return Reading(level=level, **values)


def apply(
    session: StoreSession,
    *readings: Reading,
    after_s: int = 0,
    channels: Sequence[str] = (),
) -> list[Edge]:
    now_us = START_US + after_s * SECOND_US
    found = session.run(session.store.alerts.apply(readings, now_us, channels))
    return [edge for edge, _ in found]


def opened(session: StoreSession) -> list[Alert]:
    return list(session.run(session.store.alerts.current()))


def test_an_alert_has_one_start_and_one_end(session: StoreSession) -> None:
    alerts = session.store.alerts
    assert apply(session, reading(), channels=("webhook", "mail")) == [Edge.STARTED]
    # A second leader, or one after a restart, starts it no second time.
    assert apply(session, reading(detail="20 new"), after_s=15) == []
    (alert,) = opened(session)
    assert (alert.detail, alert.started_us) == ("20 new", START_US)
    assert session.run(alerts.count_open(1)) == 1
    assert session.run(alerts.count_open(2)) == 0
    assert session.run(alerts.open_by_kind()) == {"dead_letters_growing": 1}
    assert apply(session, reading(Level.GOOD, detail="0 new"), after_s=30) == []
    assert apply(session, reading(Level.BETWEEN), after_s=60) == []
    assert apply(session, after_s=100) == []
    assert apply(session, after_s=1100, channels=("mail",)) == [Edge.ENDED]

    (ended,) = session.run(alerts.list(1, limit=10))
    assert (ended.state, ended.detail) == (AlertState.ENDED, "20 new")
    assert ended.ended_us == START_US + 1100 * SECOND_US
    assert session.run(alerts.list(2, limit=10)) == []
    assert session.run(alerts.list(1, only_open=True, limit=10)) == []
    assert [(one.edge, one.channel) for one in session.run(alerts.notices(ended))] == [
        ("started", "webhook"),
        ("started", "mail"),
        ("ended", "mail"),
    ]
    assert apply(session, reading(), after_s=1200) == [Edge.STARTED]
    assert session.run(alerts.prune(START_US + 200 * 86_400 * SECOND_US, 10)) == 1


def test_a_pending_alert_is_not_shown_and_may_go(session: StoreSession) -> None:
    slow = reading(kind=AlertKind.SUBSCRIBER_FAILING, subject="s")
    assert apply(session, slow) == []
    assert session.run(session.store.alerts.list(1, limit=10)) == []
    assert apply(session, after_s=100) == []
    assert apply(session, slow, after_s=200) == []
    assert apply(session, slow, after_s=499) == []
    assert apply(session, slow, after_s=500) == [Edge.STARTED]


def test_an_alert_of_the_instance_is_in_every_project(session: StoreSession) -> None:
    apply(session, reading(project_id=0))
    assert len(session.run(session.store.alerts.list(5, limit=10))) == 1
    assert session.run(session.store.alerts.count_open(5)) == 1


def levels(session: StoreSession, now_us: int) -> dict[tuple[int, str, str], Level]:
    found = session.run(session.store.alerts.readings(now_us))
    return {one.key: one.level for one in found}


def test_mail_that_bounces_and_a_receiver_that_rejects_are_read(session: StoreSession) -> None:
    project = mail.new_project(session)
    for number in range(5):
        mail.send_one(session, project, to=f"p{number}@example.net")
        mail.deliver(session, ReplyClass.SENDER_REFUSED, code=550, status="5.7.1")
    now_us = session.store.clock_us()
    session.place.run_sql("UPDATE mail_figures SET sent = 90, bounced = 10")
    found = levels(session, now_us)
    assert found[project, "bounce_rate", "example.org"] is Level.BAD
    assert found[project, "complaint_rate", "example.org"] is Level.GOOD
    assert found[project, "sender_rejected", "example.org example.net"] is Level.BAD
    # With little mail, or between the limits, nothing starts or ends.
    for sent, bounced in ((9, 1), (960, 40)):
        session.place.run_sql("UPDATE mail_figures SET sent = ?, bounced = ?", sent, bounced)
        assert levels(session, now_us)[project, "bounce_rate", "example.org"] is Level.BETWEEN


def test_a_relay_that_rejects_the_password_is_read_until_it_accepts(session: StoreSession) -> None:
    project = mail.new_project(session)
    message = mail.send_one(session, project)
    mail.deliver(session, ReplyClass.RELAY_AUTH, code=535)
    now_us = session.store.clock_us()
    assert levels(session, now_us)[0, "relay_failing", "test"] is Level.BAD
    # It is not tried any more: the relay was replaced.
    assert levels(session, now_us + 3_600 * SECOND_US)[0, "relay_failing", "test"] is Level.GOOD
    mail.make_due(session, message)
    mail.deliver(session, code=250)
    assert (0, "relay_failing", "test") not in levels(session, now_us)


def test_late_mail_and_unknown_outcomes_are_read(session: StoreSession) -> None:
    project = mail.new_project(session)
    mail.send_one(session, project, to="a@example.net")
    now_us = session.store.clock_us()
    assert levels(session, now_us)[project, "mail_queue_age", ""] is Level.GOOD
    late_us = now_us + 1_000 * SECOND_US
    assert levels(session, late_us)[project, "mail_queue_age", ""] is Level.BAD
    mail.set_policy(session, project, "sending_paused", "mail")
    assert levels(session, late_us)[project, "mail_queue_age", ""] is Level.GOOD
    mail.set_policy(session, project, "sending_paused", "none")
    mail.set_policy(session, project, "unknown_outcome_transactional", "hold")
    mail.deliver(session, ReplyClass.UNKNOWN)
    assert levels(session, now_us)[project, "unknown_outcomes", ""] is Level.GOOD
    assert levels(session, now_us + 7_200 * SECOND_US)[project, "unknown_outcomes", ""] is Level.BAD


def test_a_worker_that_is_gone_is_read_only_if_there_was_one(session: StoreSession) -> None:
    now_us = session.store.clock_us()
    assert (0, "worker_gone", "") not in levels(session, now_us)
    session.run(
        session.store.processing.acquire_leadership("worker_present", mail.OWNER, 60_000_000)
    )
    assert levels(session, now_us)[0, "worker_gone", ""] is Level.GOOD
    assert levels(session, now_us + 120 * SECOND_US)[0, "worker_gone", ""] is Level.BAD


def test_subscribers_and_dead_letters_are_read(session: StoreSession) -> None:
    queue = Queue(session)
    project = queue.project()
    webhook = queue.webhook(project)
    other = queue.webhook(project)
    now_us = session.store.clock_us()
    key = (project, "subscriber_failing", webhook.id)
    assert levels(session, now_us)[key] is Level.GOOD
    change = "UPDATE subscribers SET breaker = ? WHERE id = ?"
    session.place.run_sql(change, '{"state":"open","generation":1}', webhook.id)
    assert levels(session, now_us)[key] is Level.BAD
    session.place.run_sql(change, '{"state":"closed","generation":1,"failures":1}', webhook.id)
    assert levels(session, now_us)[key] is Level.GOOD
    session.place.run_sql(change, None, webhook.id)
    queue.deliver(webhook.id, project, count=5)
    for claimed in queue.claim(mail.OWNER, webhook.id, project):
        queue.record(mail.OWNER, claimed, failure(retry_in_s=None))
    # It responds, and accepts nothing.
    assert levels(session, now_us)[key] is Level.BAD
    assert levels(session, now_us)[project, "dead_letters_growing", ""] is Level.BETWEEN
    disabled = "UPDATE subscribers SET enabled = (1 = 0), disabled_reason = ? WHERE id = ?"
    session.place.run_sql(disabled, "the endpoint is gone (410)", webhook.id)
    session.place.run_sql(disabled, "switched off", other.id)
    found = levels(session, now_us)
    assert found[project, "subscriber_disabled", webhook.id] is Level.BAD
    assert found[project, "subscriber_disabled", other.id] is Level.GOOD


def watch(session: StoreSession, channels: dict[str, Channel], **options: Any) -> AlertWatch:
    values: dict[str, Any] = {"owner": "here/1:1:1", "disk_free_min_bytes": 0} | options
    return AlertWatch(session.store, channels, **values)


def test_a_nearly_full_disk_is_an_alert(session: StoreSession) -> None:
    health = session.run(session.store.health())
    if health.free_bytes is None:
        pytest.skip("the free space of a PostgreSQL server is not known")
    watching = watch(session, {}, disk_free_min_bytes=health.free_bytes)
    assert session.run(watching.run_once()) == []
    rows = session.place.run_sql("SELECT kind, state FROM alerts")
    assert rows == [("disk_low", "pending")]


def failing(session: StoreSession, project: int) -> None:
    """Open the breaker of a receiver, which is an alert at once."""
    for number in range(5):
        mail.send_one(session, project, to=f"p{number}@example.net")
        mail.deliver(session, ReplyClass.SENDER_REFUSED, code=550, status="5.7.26")


def test_a_signed_webhook_tells_of_start_and_end(session: StoreSession) -> None:
    project = mail.new_project(session)
    failing(session, project)
    answers = [b"HTTP/1.1 500 Oops\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"]

    async def behave(exchange: Exchange) -> None:
        await exchange.send(answers.pop(0) if len(answers) > 1 else answers[0])

    async def run() -> list[dict[str, Any]]:
        calls = WebhookCalls(parse_networks("127.0.0.0/8"), KeyRing())
        async with receiver(behave) as endpoint:
            watching = watch(session, {"webhook": webhook_channel(calls, endpoint.url, SECRET)})
            assert [edge for edge, _ in await watching.run_once()] == [Edge.STARTED]
            session.place.run_sql("UPDATE alert_notices SET due_us = 1 WHERE due_us IS NOT NULL")
            # Made anew, as after a restart: it repeats no start.
            watching = watch(session, {"webhook": webhook_channel(calls, endpoint.url, SECRET)})
            assert await watching.run_once() == []
            session.place.run_sql("DELETE FROM receiver_breakers")
            assert [edge for edge, _ in await watching.run_once()] == [Edge.ENDED]
            await watching.run_once()
            await calls.close()
            failed, *rest = endpoint.requests
            assert failed.headers["webhook-id"] == rest[0].headers["webhook-id"]
            return [Webhook(SECRET).verify(one.body, one.headers) for one in rest]

    started, ended = session.run(run())
    assert [started["type"], ended["type"]] == ["sendrealm.alert.started", "sendrealm.alert.ended"]
    shown = started["data"]["payload"]
    assert (shown["kind"], shown["state"]) == ("sender_rejected", "open")
    assert shown["detail"] == "example.net rejects example.org: 550 5.7.26"
    assert ended["data"]["payload"]["id"] == shown["id"]
    assert ended["data"]["payload"]["ended_at"]


def test_a_private_address_gets_no_webhook(session: StoreSession) -> None:
    project = mail.new_project(session)
    failing(session, project)

    async def run() -> None:
        async def behave(exchange: Exchange) -> None:
            await exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")

        async with receiver(behave) as endpoint:
            calls = WebhookCalls((), KeyRing())
            channel = webhook_channel(calls, endpoint.url, SECRET)
            await watch(session, {"webhook": channel}).run_once()
            await calls.close()
            assert endpoint.requests == []

    session.run(run())
    (alert,) = opened(session)
    (notice,) = session.run(session.store.alerts.notices(alert))
    assert (notice.attempts, notice.done_us) == (1, None)
    assert notice.due_us is not None
    assert notice.error


def test_a_mail_tells_of_start_and_end(session: StoreSession) -> None:
    project = mail.new_project(session)
    failing(session, project)
    with mail_sink() as sink:

        async def keep(_: object) -> None:
            """Only the relay `capture:` keeps mail."""

        async def run() -> None:
            relay = open_relay(parse_relay_url(f"smtp://127.0.0.1:{sink.port}"), keep)
            channel = mail_channel(relay, "alerts@example.org", ["ops@example.com"])
            watching = watch(session, {"mail": channel})
            await watching.run_once()
            session.place.run_sql("DELETE FROM receiver_breakers")
            await watching.run_once()
            await watching.run_once()
            await relay.close()

        session.run(run())
        subjects = [one["Subject"] for one in sink.parsed()]
    assert subjects == [
        "[Headrace] Alert: A receiver rejects a sending domain",
        "[Headrace] Ended: A receiver rejects a sending domain",
    ]


def test_a_notice_is_given_up_after_its_last_attempt(session: StoreSession) -> None:
    apply(session, reading(), channels=("webhook",))

    async def refuse(notice: Notice) -> str:
        return f"no {json.dumps(msgspec.to_builtins(notice.edge))}"

    watching = watch(session, {"webhook": refuse})
    for _ in range(20):
        session.place.run_sql("UPDATE alert_notices SET due_us = 1 WHERE due_us IS NOT NULL")
        session.run(watching.run_once())
    ((attempts, due_us),) = session.place.run_sql(
        "SELECT attempt, due_us FROM alert_notices WHERE edge = 'started'"
    )
    assert (attempts, due_us) == (14, None)
