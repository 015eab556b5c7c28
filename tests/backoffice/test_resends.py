"""Sending events to a webhook again, from the page of an event and of a webhook."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.server import RunningServer

SINCE = "2026-01-01T00:00:00Z"


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """Two processed orders, and a project that gives up a delivery after its first attempt."""
    with open_shop(server, f"sent again {next(numbers)}", delivery_max_attempts=1) as shop:
        for _ in range(2):
            shop.wait_until_processed(shop.send("order.completed", external_id="ann"))
        yield shop


def test_one_event_is_sent_to_a_webhook_made_later(owner: Person, shop: Shop) -> None:
    webhook_id = shop.make_webhook(DEAD_URL, "order.*")
    event = f"/events/{shop.sent[0]}"
    assert "Send to another webhook" in page(owner, shop, event)

    answer = owner.post(f"{shop.path}{event}/resend", {"webhook": webhook_id})

    assert answer.status_code == 303
    assert "within seconds" in owner.client.get(answer.headers["location"]).text
    shop.wait_for_dead_letters(1)
    text = page(owner, shop, event)
    assert "Send to another webhook" not in text
    assert "Send again" in text
    assert "delivery queued on request by" in text


def test_time_range_is_previewed_then_sent(owner: Person, shop: Shop) -> None:
    webhook_id = shop.make_webhook(DEAD_URL, "order.*")
    address = f"/subscribers/{webhook_id}/resend"
    assert "resend" in page(owner, shop, f"/subscribers/{webhook_id}")
    assert "match" not in page(owner, shop, address)
    assert "2 events match" in page(owner, shop, f"{address}?from={SINCE}")
    assert "0 events match" in page(owner, shop, f"{address}?from={SINCE}&only_failed=1")

    answer = owner.post(f"{shop.path}{address}", {"from": SINCE, "per_second": "100"})

    assert answer.status_code == 303
    job = answer.headers["location"].removeprefix("/backoffice" + shop.path)
    shop.wait(lambda: "2 of 2 queued again" in page(owner, shop, job))
    shop.wait_for_dead_letters(2)
    shop.wait(lambda: "failed again" in page(owner, shop, job))
    assert "2 events match" in page(owner, shop, f"{address}?from={SINCE}&only_failed=1")
    assert "resend.create" in page(owner, shop, "/audit?action=resend.")


def test_wrong_fields_are_shown_beside_the_field(owner: Person, shop: Shop) -> None:
    webhook_id = shop.make_webhook(DEAD_URL, "order.*")
    address = f"/subscribers/{webhook_id}/resend"
    assert "aria-invalid" in page(owner, shop, f"{address}?from=yesterday", 422)
    answer = owner.post(f"{shop.path}{address}", {"from": "yesterday"})
    assert "Not started" in owner.client.get(answer.headers["location"]).text


def test_unknown_webhook_or_event_is_not_found(owner: Person, shop: Shop) -> None:
    nobody = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
    page(owner, shop, f"/subscribers/{nobody}/resend", 404)
    event = f"{shop.path}/events/{shop.sent[0]}/resend"
    assert owner.post(event, {"webhook": nobody}).status_code == 404
    assert owner.post(f"{shop.path}/events/x/resend", {"webhook": nobody}).status_code == 404
