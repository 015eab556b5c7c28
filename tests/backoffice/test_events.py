"""Finding an event, and the contents of its page."""

from __future__ import annotations

import html
from collections.abc import Iterator

import pytest

from headrace.domain.access.sign_in import Role
from tests.backoffice.cast import Person, person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """Three orders of Ann, one with a dead-lettered webhook delivery."""
    with open_shop(server, "shop of events", delivery_max_attempts=1) as shop:
        shop.make_webhook(DEAD_URL, "order.failed")
        shop.send(
            "order.completed", external_id="ann", email="ann@example.org", idempotency_key="o/1"
        )
        shop.send(
            "order.refunded", external_id="ann", payload={"reason": "late", "email": "a@b.org"}
        )
        shop.send("order.failed", external_id="ann", payload={"total": 12.50})
        for event_id in shop.sent:
            shop.wait_until_processed(event_id)
        shop.wait_for_dead_letters(1)
        yield shop


@pytest.fixture(scope="module")
def viewer(server: RunningServer, shop: Shop) -> Iterator[Person]:
    """A viewer of the project."""
    roles = {shop.project.id: Role.VIEWER}
    with person(server, "viewer@example.org", is_owner=False, roles=roles) as somebody:
        yield somebody


def test_the_list_shows_the_newest_first(owner: Person, shop: Shop) -> None:
    text = page(owner, shop, "/events")
    positions = [text.index(f"/events/{event_id}") for event_id in reversed(shop.sent)]
    assert positions == sorted(positions)


@pytest.mark.parametrize("found_by", ["id", "key"])
def test_an_id_or_a_key_leads_straight_to_the_event(
    owner: Person, shop: Shop, found_by: str
) -> None:
    wanted = {"id": shop.sent[0], "key": "o/1"}[found_by]
    answer = owner.client.get(f"/backoffice{shop.path}/events", params={"find": wanted})
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/backoffice{shop.path}/events/{shop.sent[0]}"


def test_a_key_is_searched_exactly(owner: Person, shop: Shop) -> None:
    event_id = shop.send("order.paid", external_id="exact key", idempotency_key=" key ")
    straight = owner.get(f"{shop.path}/events?find=%20key%20")
    assert straight.headers["location"].endswith(f"/events/{event_id}")
    assert owner.get(f"{shop.path}/events?find=key").status_code == 200


def test_what_is_not_there_is_explained(owner: Person, shop: Shop) -> None:
    text = page(owner, shop, "/events?find=order-77")
    assert "No event of this project has the id or idempotency key" in text
    assert f"{shop.path}/rejections" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("event=order.refunded", [1]),
        ("who=ann", [0, 1, 2]),
        ("who=ann%40example.org", [0]),
        ("status=processed&event=order.completed", [0]),
        ("status=retrying", []),
        ("delivery=failed", [2]),
        ("delivery=none&event=order.refunded", [1]),
        ("delivery=delivered", []),
        ("source=import", []),
        ("since=2999-01-01T00:00", []),
        ("until=2999-01-01T00:00&event=order.failed", [2]),
    ],
)
def test_filters_narrow_the_list(owner: Person, shop: Shop, query: str, found: list[int]) -> None:
    text = page(owner, shop, f"/events?{query}")
    shown = [index for index, event_id in enumerate(shop.sent) if f"/events/{event_id}" in text]
    assert shown == found
    assert ("No event matches" in text) == (not found)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("event=Order%20X", "a prefix such as order.*"),
        ("since=yesterday", "date and time"),
        ("status=lost", "No event matches"),
        ("delivery=lost", "No event matches"),
        ("who=%00", ""),
    ],
)
def test_a_filter_that_cannot_be_is_explained(
    owner: Person, shop: Shop, query: str, problem: str
) -> None:
    status = 422 if problem else 200
    assert problem in page(owner, shop, f"/events?{query}", status)


def test_the_page_shows_the_summary_and_the_trace(owner: Person, shop: Shop) -> None:
    text = html.unescape(page(owner, shop, f"/events/{shop.sent[0]}"))
    assert "It was processed" in text
    assert "Not delivered" in text
    assert "No contact had this external_id, so one was created." in text
    assert 'class="timeline"' in text
    assert "o/1" in text


def test_what_was_given_up_says_what_to_do(owner: Person, shop: Shop) -> None:
    text = html.unescape(page(owner, shop, f"/events/{shop.sent[2]}"))
    assert "Its delivery failed." in text
    assert "Fix the cause below, then replay" in text
    assert "does not resolve" in text
    assert "/replay" in text


def test_personal_data_is_masked_until_it_is_asked_for(owner: Person, shop: Shop) -> None:
    path = f"/events/{shop.sent[1]}"
    text = page(owner, shop, path)
    assert "a@b.org" not in text
    assert "late" in text
    back = f"/backoffice{shop.path}{path}"
    owner.post(f"{shop.path}/reveal", {"back": back})
    text = html.unescape(page(owner, shop, path))
    assert "a@b.org" in text
    assert "curl -X POST" in text
    assert "personal data" in page(owner, shop, "/audit").lower() or "reveal" in page(
        owner, shop, "/audit"
    )
    owner.post(f"{shop.path}/mask", {"back": back})
    assert "a@b.org" not in page(owner, shop, path)


def test_a_viewer_sees_and_changes_nothing(viewer: Person, shop: Shop) -> None:
    text = page(viewer, shop, f"/events/{shop.sent[2]}")
    assert "Its delivery failed" in text
    assert "<button" not in text.partition('id="main"')[2]


@pytest.mark.parametrize("event_id", ["nonsense", "01a20ae7-10de-7000-800e-eb2bf84f1769"])
def test_an_event_that_is_not_there_is_a_page_of_its_own(
    owner: Person, shop: Shop, event_id: str
) -> None:
    assert "Page not found" in page(owner, shop, f"/events/{event_id}", 404)


def test_an_event_of_another_project_is_not_found(
    owner: Person, server: RunningServer, shop: Shop
) -> None:
    with open_shop(server, "another shop of events") as other:
        assert page(owner, other, f"/events/{shop.sent[0]}", 404)
        assert "No event of this project" in page(owner, other, f"/events?find={shop.sent[0]}")


def test_a_rejection_is_listed_with_its_reason(owner: Person, shop: Shop) -> None:
    refused = {"event": "Order Placed", "email": "<b>x</b>", "idempotencyKey": "k"}
    assert shop.client.post("/events", json=refused).status_code == 422
    shop.wait(lambda: "idempotencyKey" in page(owner, shop, "/rejections"))
    text = page(owner, shop, "/rejections")
    assert "ValidationError" in text
    assert "<b>x</b>" not in text
    assert "Order Placed" not in text
