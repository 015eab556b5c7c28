"""Webhooks: their health and every action on one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.pipeline.delivering.health import health_of
from headrace.store.contract.deliveries import (
    Attempt,
    DeliveryRecord,
    DeliveryState,
    Subscriber,
    SubscriberKind,
)
from tests.backoffice.cast import Person
from tests.backoffice.shop import DEAD_URL, Shop, open_shop, page
from tests.support.server import RunningServer

FIELDS = {"url": DEAD_URL, "events": "order.* cart.updated", "description": "to the shop"}


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """A project without subscribers, whose deliveries are attempted once."""
    with open_shop(server, "shop of subscribers", delivery_max_attempts=1) as shop:
        yield shop


@pytest.fixture
def webhook(shop: Shop) -> str:
    """Path of a webhook's page."""
    return f"/subscribers/{shop.make_webhook(DEAD_URL, 'order.*')}"


def shown(shop: Shop, path: str) -> dict[str, object]:
    """The webhook in the API."""
    answer = shop.client.get(f"/webhooks/{path.rpartition('/')[2]}")
    data: dict[str, object] = answer.json()["data"]
    return data


def test_a_webhook_is_created_and_its_secret_shown_once(owner: Person, shop: Shop) -> None:
    page(owner, shop, "/subscribers/new")
    made = owner.post(f"{shop.path}/subscribers", FIELDS)
    assert made.status_code == 201
    assert "whsec_" in made.text
    newest = shop.client.get("/webhooks").json()["data"][0]
    assert newest["events"] == ["order.*", "cart.updated"]
    assert "whsec_" not in page(owner, shop, f"/subscribers/{newest['id']}")
    assert DEAD_URL in page(owner, shop, "/subscribers")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"url": "http://127.0.0.1/x"}, "127.0.0.1"),
        ({"url": "ftp://example.org"}, "f-url"),
        ({"url": ""}, "f-url"),
        ({"events": ""}, "must have 1 to"),
        ({"events": "Order"}, "f-events"),
        ({"description": "x" * 4000}, "must be at most"),
    ],
)
def test_an_invalid_form_creates_nothing(
    owner: Person, shop: Shop, changed: dict[str, str], problem: str
) -> None:
    before = len(shop.client.get("/webhooks").json()["data"])
    answer = owner.post(f"{shop.path}/subscribers", FIELDS | changed)
    assert answer.status_code == 422
    assert problem in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert len(shop.client.get("/webhooks").json()["data"]) == before


def test_a_webhook_is_edited(owner: Person, shop: Shop, webhook: str) -> None:
    fields = FIELDS | {"events": "*", "url": f"{DEAD_URL}/2"}
    assert owner.post(f"{shop.path}{webhook}/edit", fields).status_code == 303
    assert shown(shop, webhook)["events"] == ["*"]
    assert shown(shop, webhook)["url"] == f"{DEAD_URL}/2"
    refused = owner.post(f"{shop.path}{webhook}/edit", FIELDS | {"url": "nonsense"})
    assert refused.status_code == 422
    assert "nonsense" in refused.text
    assert shown(shop, webhook)["url"] == f"{DEAD_URL}/2"


def test_own_headers_are_edited_and_shown_masked(owner: Person, shop: Shop, webhook: str) -> None:
    fields = {"url": DEAD_URL, "events": "order.*", "description": ""}
    saved = owner.post(
        f"{shop.path}{webhook}/edit", fields | {"headers": "X-Key: s3cr3t-value\nX-Env: prod"}
    )
    assert saved.status_code == 303
    text = page(owner, shop, webhook)
    assert "X-Key: ***\nX-Env: ***</textarea>" in text
    assert "s3cr3t" not in text
    owner.post(f"{shop.path}{webhook}/edit", fields | {"headers": "X-Key: ***"})
    assert shown(shop, webhook)["headers"] == {"X-Key": "***"}
    for wrong in ("Host: x", "X-Other: ***", "no colon"):
        refused = owner.post(f"{shop.path}{webhook}/edit", fields | {"headers": wrong})
        assert refused.status_code == 422
    assert shown(shop, webhook)["headers"] == {"X-Key": "***"}


def test_it_is_disabled_and_enabled(owner: Person, shop: Shop, webhook: str) -> None:
    owner.post(f"{shop.path}{webhook}/disable")
    assert shown(shop, webhook)["enabled"] is False
    assert "switched off" in page(owner, shop, webhook)
    owner.post(f"{shop.path}{webhook}/enable")
    assert shown(shop, webhook)["enabled"] is True


def test_it_is_paused_and_resumed(owner: Person, shop: Shop, webhook: str) -> None:
    owner.post(f"{shop.path}{webhook}/pause")
    assert shown(shop, webhook)["paused"] is True
    shop.send("order.completed", external_id="ann")
    shop.wait(lambda: "1 deliveries wait" in page(owner, shop, webhook))
    assert "paused on request" in page(owner, shop, "/subscribers")
    assert "of them 1 for paused webhooks" in page(owner, shop, "")
    refused = owner.post(f"{shop.path}{webhook}/resume", {"per_second": "many"})
    assert "whole number from 1 to 1000" in owner.client.get(refused.headers["location"]).text
    assert shown(shop, webhook)["paused"] is True
    owner.post(f"{shop.path}{webhook}/resume", {"per_second": "3"})
    resumed = shown(shop, webhook)
    assert (resumed["paused"], resumed["per_second"] in {3, None}) == (False, True)


def test_a_test_call_shows_its_result(owner: Person, shop: Shop, webhook: str) -> None:
    answer = owner.post(f"{shop.path}{webhook}/test")
    assert answer.status_code == 303
    assert "The test call failed" in owner.client.get(answer.headers["location"]).text


def test_a_rotation_shows_the_new_secret_once(owner: Person, shop: Shop, webhook: str) -> None:
    answer = owner.post(f"{shop.path}{webhook}/rotate")
    assert answer.status_code == 200
    assert "whsec_" in answer.text
    assert shown(shop, webhook)["previous_secret_until"] is not None
    assert "whsec_" not in page(owner, shop, webhook)


def test_it_is_deleted(owner: Person, shop: Shop, webhook: str) -> None:
    assert owner.post(f"{shop.path}{webhook}/delete").status_code == 303
    page(owner, shop, webhook, 404)
    assert owner.post(f"{shop.path}{webhook}/test").status_code == 404


def test_deliveries_are_shown_with_every_attempt(owner: Person, shop: Shop, webhook: str) -> None:
    event_id = shop.send("order.completed", external_id="ann")
    shop.wait(lambda: "dead lettered" in page(owner, shop, webhook))
    text = page(owner, shop, webhook)
    assert f"/events/{event_id}" in text
    assert "does not resolve" in text


def subscriber(**changes: object) -> Subscriber:
    values: dict[str, object] = {
        "id": "x",
        "project_id": 1,
        "kind": SubscriberKind.WEBHOOK,
        "target": DEAD_URL,
        "events": ("*",),
        "description": "",
        "enabled": True,
        "disabled_reason": None,
        "secrets": (),
        "previous_until_us": None,
        "breaker": None,
        "created_us": 1,
        "updated_us": 1,
    }
    return Subscriber(**(values | changes))  # type: ignore[arg-type]


def delivery(state: DeliveryState, *causes: str | None) -> DeliveryRecord:
    attempts = [
        Attempt(
            number=number, at_us=number * 1_000_000, duration_us=1000, cause=cause, error=cause,
            http_status=None, excerpt=None,
        )
        for number, cause in enumerate(causes, 1)
    ]  # fmt: skip
    return DeliveryRecord(
        number=1, id="d", subscriber_id="x", event_id=None, event=None, state=state,
        attempt=len(causes), due_us=0, created_us=0, finished_us=None, last_error=None,
        attempts=attempts,
    )  # fmt: skip


GOOD = delivery(DeliveryState.DELIVERED, None)
DEAD = delivery(DeliveryState.DEAD_LETTERED, "timeout", "timeout")
RETRYING = delivery(DeliveryState.RETRYING, "timeout")
WAITING = delivery(DeliveryState.PENDING)


@pytest.mark.parametrize(
    ("recent", "state", "why"),
    [
        ([], "enabled", ""),
        ([WAITING], "enabled", ""),
        ([GOOD], "healthy", ""),
        ([WAITING, GOOD], "healthy", ""),
        ([DEAD] * 20, "failing", "20 of the last 20 failed, since 1970-01-01T00:00:01.000Z"),
        ([RETRYING], "failing", "1 of the last 1 failed, since 1970-01-01T00:00:01.000Z"),
        (
            [WAITING, DEAD, GOOD],
            "failing",
            "1 of the last 2 failed, since 1970-01-01T00:00:01.000Z",
        ),
        ([GOOD] + [DEAD] * 4, "failing", "4 of the last 5 failed, since 1970-01-01T00:00:01.000Z"),
        ([GOOD] * 10 + [DEAD], "healthy", ""),
    ],
)
def test_health_is_derived_from_the_last_deliveries(
    recent: list[DeliveryRecord], state: str, why: str
) -> None:
    found = health_of(subscriber(), recent, 0)
    assert (found.state, found.why) == (state, why)


def test_a_subscriber_that_fails_looks_failing(owner: Person, shop: Shop) -> None:
    webhook_id = shop.make_webhook(DEAD_URL, "order.lost")
    shop.send("order.lost", external_id="ann")
    shop.wait(lambda: "failed, since" in page(owner, shop, f"/subscribers/{webhook_id}"))
    assert "failing" in page(owner, shop, "/subscribers")
    for webhook in (shown(shop, webhook_id), shop.client.get("/webhooks").json()["data"][0]):
        health = webhook["health"]
        assert isinstance(health, dict)
        assert (health["state"], health["failed"], health["attempted"]) == ("failing", 1, 1)
        assert health["failing_since"] in health["reason"]


def test_health_is_derived_from_the_breaker() -> None:
    paused = '{"state":"open","generation":1,"pause_until_us":5000}'
    assert health_of(subscriber(), [], 0).state == "enabled"
    waits = health_of(subscriber(breaker=paused), [], 0)
    assert (waits.state, waits.paused_until_us) == ("failing", 5000)
    assert waits.why == "it failed several times in a row"
    assert health_of(subscriber(breaker=paused), [], 6000).state == "enabled"
    off = health_of(subscriber(enabled=False, disabled_reason="gone"), [], 0)
    assert (off.state, off.why) == ("disabled", "gone")
