"""The live view of events: filled from the start, rows that change in place, filters explained."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests.backoffice.cast import COOKIE, Person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.raw_http import head_of
from tests.support.server import RunningServer
from tests.support.stream import Watcher


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """Deliveries are attempted once, and those to one webhook always fail."""
    with open_shop(server, "live shop", delivery_max_attempts=1) as shop:
        shop.make_webhook(DEAD_URL, "order.lost")
        yield shop


def watch(shop: Shop, owner: Person, **query: str) -> Watcher:
    target = f"/backoffice{shop.path}/events/live/stream?{urlencode(query)}"
    watcher = Watcher(shop.server.port)
    watcher.start_by(head_of("GET", target, headers={"Cookie": f"{COOKIE}={owner.token}"}))
    return watcher


def rows_of(watcher: Watcher, event_id: str) -> Iterator[str]:
    """Rows of one event as they are sent."""
    while True:
        message = watcher.message()
        if message.startswith("event: row") and f'data-event="{event_id}"' in message:
            yield message


def test_rows_are_there_from_the_start_and_change_in_place(owner: Person, shop: Shop) -> None:
    earlier = shop.send("order.earlier", external_id="ann")
    other = shop.send("cart.updated", external_id="ann")
    shop.wait_until_processed(other)
    text = page(owner, shop, "/events/live?event=order.*")
    assert f'data-event="{earlier}"' in text
    assert f'data-event="{other}"' not in text
    with watch(shop, owner, event="order.*") as watcher:
        assert "processed" in next(rows_of(watcher, earlier))
        lost = shop.send("order.lost", external_id="ann")
        rows = rows_of(watcher, lost)
        assert "accepted" in next(rows)
        row = next(each for each in rows if ">failed<" in each.replace(" ", "").replace("\n", ""))
        assert "processed" in row


def test_an_invalid_filter_is_explained_and_not_streamed(owner: Person, shop: Shop) -> None:
    text = page(owner, shop, "/events/live?event=Bad+Name", 422)
    assert 'aria-invalid="true"' in text
    assert "data-live=" not in text
    assert "Correct the filter" in text
    answer = owner.client.get(f"/backoffice{shop.path}/events/live/stream?event=Bad+Name")
    assert answer.status_code == 400


def test_list_and_live_view_share_their_filter(owner: Person, shop: Shop) -> None:
    assert "/events/live?event=order.%2A" in page(owner, shop, "/events?event=order.*")
    assert "/events?event=order.%2A" in page(owner, shop, "/events/live?event=order.*")
