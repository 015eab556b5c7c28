"""The overview counts what it says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """Failed deliveries wait for their retry."""
    with open_shop(server, "counted shop") as shop:
        shop.make_webhook(DEAD_URL, "order.*")
        yield shop


def test_rejected_counts_events_only_and_pending_deliveries_are_named(
    owner: Person, shop: Shop
) -> None:
    for _ in range(3):
        assert shop.client.post("/contacts", json={"email": "no address"}).status_code == 422
    assert shop.client.post("/events", json={"event": "Bad"}).status_code == 422
    batch = {"events": [{"event": "Bad"}, {"event": "order.completed", "external_id": "ann"}]}
    assert shop.client.post("/events/batch", json=batch).status_code == 200
    shop.wait(lambda: "0 duplicates, 2 rejected" in page(owner, shop, ""))
    shop.wait(lambda: "no event waits, " in page(owner, shop, ""))
    assert "deliveries pending" in page(owner, shop, "")
    assert "empty" not in page(owner, shop, "").partition("Queue depth")[2][:400]
    assert len(shop.client.get("/rejections").json()["data"]) == 5
