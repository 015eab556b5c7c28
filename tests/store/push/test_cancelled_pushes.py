"""Pushes that end before they are sent: by a person, or because the contact was deleted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.support import mail, pushes
from tests.support.push_service import Answer, PushService, Received, push_service
from tests.support.session import StoreSession

OWNER = mail.OWNER


@pytest.fixture(scope="module")
def service() -> Iterator[PushService]:
    with push_service() as made:
        yield made


class Shop:
    """Ann with two devices, whose push waits."""

    def __init__(self, session: StoreSession, service: PushService) -> None:
        self.session = session
        self.service = service
        service.received.clear()
        service.answer = lambda _number, _push: Answer()
        self.project = mail.new_project(session)
        self.app = pushes.new_app(session, self.project)
        self.ann = ""
        for name in ("d1", "d2"):
            browser = service.subscription(name)
            held = pushes.register(session, self.project, self.app, name, browser)
            self.ann = held or ""

    def send(self) -> None:
        pushes.send(self.session, self.project, self.app, contact_ids=[self.ann])

    def work(self) -> None:
        pushes.make_due(self.session)
        pushes.work(self.session, self.service.origin, OWNER)

    def refuse(self, *paths: str) -> None:
        """Let the service answer pushes to these devices with an error that is retried."""

        def answer(_number: int, push: Received) -> Answer:
            return Answer(503 if push.path in paths else 201)

        self.service.answer = answer

    def cancel(self) -> None:
        ((message_id,),) = self.session.place.run_sql("SELECT id FROM messages")
        lists = self.session.store.messages.lists
        now_us = self.session.store.clock_us()
        assert self.session.run(lists.cancel(self.project, message_id, now_us)) is not None

    def delete_contact(self) -> None:
        contacts = self.session.store.contacts
        now_us = self.session.store.clock_us()
        assert self.session.run(contacts.delete(self.project, self.ann, now_us, source="api"))

    def messages(self) -> list[tuple[Any, ...]]:
        rows = self.session.place.run_sql("SELECT state, reason, due_us FROM messages")
        return [tuple(row) for row in rows]

    def notifications(self) -> Sequence[tuple[Any, ...]]:
        rows = self.session.place.run_sql(
            "SELECT state, reason, finished_us IS NOT NULL FROM push_notifications "
            "ORDER BY device_id"
        )
        return [(row[0], row[1], bool(row[2])) for row in rows]


@pytest.fixture
def shop(session: StoreSession, service: PushService) -> Shop:
    return Shop(session, service)


@pytest.mark.parametrize("deferred", [False, True])
@pytest.mark.parametrize("reason", ["cancelled_by", "contact_deleted"])
def test_a_push_that_waits_ends_with_its_notifications(
    shop: Shop, deferred: bool, reason: str
) -> None:
    shop.send()
    if deferred:
        shop.refuse("/push/d1", "/push/d2")
        shop.work()
        assert [each[0] for each in shop.notifications()] == ["deferred", "deferred"]
    tried = len(shop.service.received)
    if reason == "cancelled_by":
        shop.cancel()
    else:
        shop.delete_contact()
    assert shop.messages() == [("cancelled", reason, None)]
    assert shop.notifications() == [("cancelled", reason, True)] * 2
    history = shop.session.run(shop.session.store.push.devices.history(shop.app, "d1"))
    assert history is not None
    assert [each.reason for each in history.notifications] == [reason]
    shop.work()
    assert len(shop.service.received) == tried


def test_a_push_that_one_device_has_got_stays_sent_when_the_contact_is_deleted(shop: Shop) -> None:
    shop.refuse("/push/d2")
    shop.send()
    shop.work()
    assert [each[0] for each in shop.notifications()] == ["sent", "deferred"]
    shop.delete_contact()
    assert shop.messages() == [("sent", None, None)]
    assert shop.notifications() == [
        ("sent", None, True),
        ("cancelled", "contact_deleted", True),
    ]
