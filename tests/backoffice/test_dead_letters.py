"""Dead letters by cause, replaying and discarding them."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """Two orders with a dead-lettered webhook delivery."""
    with open_shop(server, f"given up {next(numbers)}", delivery_max_attempts=1) as shop:
        shop.make_webhook(DEAD_URL, "order.*")
        for _ in range(2):
            shop.send("order.completed", external_id="ann")
        shop.wait_for_dead_letters(2)
        yield shop


def letters(shop: Shop) -> list[str]:
    """Ids of the open dead letters."""
    return [each["id"] for each in shop.client.get("/dead-letters").json()["data"]]


def test_they_are_grouped_by_cause(owner: Person, shop: Shop) -> None:
    text = page(owner, shop, "/dead-letters")
    assert "dns failed" in text or "unresolved" in text or "resolve" in text
    assert DEAD_URL in text
    assert text.count("<tr>") == 2  # headings and one group


def test_one_is_replayed_and_fails_again_as_a_new_one(owner: Person, shop: Shop) -> None:
    first = letters(shop)[0]
    answer = owner.post(f"{shop.path}/dead-letters/{first}/replay")
    assert answer.status_code == 303
    shop.wait(lambda: first not in letters(shop) and len(letters(shop)) == 2)
    again = owner.post(f"{shop.path}/dead-letters/{first}/replay")
    assert again.status_code == 303
    followed = owner.client.get(again.headers["location"])
    assert "It was already replayed or discarded." in followed.text


def test_one_is_discarded_with_a_reason(owner: Person, shop: Shop) -> None:
    first = letters(shop)[0]
    refused = owner.post(f"{shop.path}/dead-letters/{first}/discard", {"reason": " "})
    assert "Not discarded" in owner.client.get(refused.headers["location"]).text
    assert first in letters(shop)
    owner.post(f"{shop.path}/dead-letters/{first}/discard", {"reason": "sent by hand <i>"})
    assert first not in letters(shop)
    traces = [html.unescape(page(owner, shop, f"/events/{event_id}")) for event_id in shop.sent]
    assert any("sent by hand <i>" in trace for trace in traces)


def test_a_group_is_previewed_then_replayed(owner: Person, shop: Shop) -> None:
    before = set(letters(shop))
    text = page(owner, shop, "/dead-letters/replay?event=order.completed")
    assert "Replay 2 dead letters" in text
    fields = {"event": "order.completed", "per_second": "100"}
    answer = owner.post(f"{shop.path}/dead-letters/replay", fields)
    assert answer.status_code == 303
    job = answer.headers["location"].removeprefix("/backoffice" + shop.path)
    shop.wait(lambda: "2 of 2 replayed" in page(owner, shop, job))
    shop.wait(lambda: len(letters(shop)) == 2 and not before & set(letters(shop)))
    assert "2 of 2" in page(owner, shop, "/dead-letters")
    # Every one failed again, and a replay that is done must not hide that.
    text = page(owner, shop, job)
    assert "failed again" in text
    assert "<dt>Succeeded</dt><dd>0</dd>" in text


def test_a_replay_can_be_stopped(owner: Person, shop: Shop) -> None:
    for _ in range(2):
        shop.send("order.completed", external_id="ann")
    shop.wait_for_dead_letters(4)
    answer = owner.post(f"{shop.path}/dead-letters/replay", {"per_second": "1"})
    job = answer.headers["location"].removeprefix("/backoffice" + shop.path)
    assert owner.post(f"{shop.path}{job}/stop").status_code == 303
    text = page(owner, shop, job)
    assert "stopped" in text
    assert "Refresh" not in owner.get(shop.path + job).headers


@pytest.mark.parametrize("rate", ["0", "1001", "fast", ""])
def test_a_rate_that_cannot_be_starts_nothing(owner: Person, shop: Shop, rate: str) -> None:
    answer = owner.post(f"{shop.path}/dead-letters/replay", {"per_second": rate})
    assert "Not started" in owner.client.get(answer.headers["location"]).text


@pytest.mark.parametrize("query", ["cause=a%2Fb", "kind=lost", "subscriber_id=x", "event=A%20B"])
def test_a_filter_that_nobody_linked_is_not_found(owner: Person, shop: Shop, query: str) -> None:
    page(owner, shop, f"/dead-letters/list?{query}", 404)
