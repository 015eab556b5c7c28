"""Automations: checked, published, and why a person has started a run or none."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.mailing import mask, reveal, said
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer

ABSENT = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int], owner: Person) -> Iterator[Shop]:
    """A project of its own, with masked personal data."""
    with open_shop(server, f"automations {next(numbers)}") as shop:
        mask(shop, owner)
        yield shop


def definition(seconds: int = 3600, **trigger: Any) -> dict[str, Any]:
    return {
        "trigger": {"event_name": "go", **trigger},
        "steps": [{"key": "rest", "type": "delay", "config": {"seconds": seconds}}],
        "connections": [{"from": "trigger", "to": "rest"}],
    }


def new_automation(shop: Shop, of: dict[str, Any], name: str = "Auto <1>") -> str:
    answer = shop.client.post("/automations", json={"name": name, "definition": of})
    assert answer.status_code == 201, answer.text
    automation_id: str = answer.json()["data"]["id"]
    return automation_id


def started(shop: Shop, automation_id: str) -> str:
    """Id of its run, once there is one."""
    path = f"/automations/{automation_id}/runs"
    shop.wait(lambda: bool(shop.client.get(path).json()["data"]))
    run_id: str = shop.client.get(path).json()["data"][0]["id"]
    return run_id


def test_a_draft_is_checked_published_and_paused(owner: Person, shop: Shop) -> None:
    assert "No automation yet" in page(owner, shop, "/automations")
    automation_id = new_automation(shop, {**definition(), "connections": []})
    path = f"/automations/{automation_id}"
    assert "Auto &lt;1&gt;" in page(owner, shop, "/automations?status=draft&search=AUTO")
    assert "No automation matches" in page(owner, shop, "/automations?search=zzz")
    assert "trigger_not_connected" in page(owner, shop, path)
    refused = owner.post(f"{shop.path}{path}/publish")
    assert refused.status_code == 422
    assert "Nothing was published" in refused.text
    shop.client.patch(path, json={"definition": definition()})
    assert "The draft can be published." in page(owner, shop, path)
    published = owner.post(f"{shop.path}{path}/publish")
    assert "Version 1 is published and active." in said(owner, published.headers["location"])
    assert "Names are replaced by ids" in page(owner, shop, f"{path}/versions/1")
    page(owner, shop, f"{path}/versions/2", 404)
    page(owner, shop, f"{path}/versions/x", 404)
    paused = owner.post(f"{shop.path}{path}/status", {"change": "pause"})
    assert "It is paused." in said(owner, paused.headers["location"])
    assert owner.post(f"{shop.path}{path}/status", {"change": "x"}).status_code == 404
    page(owner, shop, f"/automations/{ABSENT}", 404)
    page(owner, shop, "/automations/x", 404)


def test_a_run_is_found_from_everywhere_and_cancelled(owner: Person, shop: Shop) -> None:
    automation_id = new_automation(shop, definition())
    shop.client.post(f"/automations/{automation_id}/publish")
    event_id = shop.send("go", external_id="mike-7")
    run_id = started(shop, automation_id)
    run = f"/automation-runs/{run_id}"
    contact_id = shop.client.get(run).json()["data"]["contact_id"]
    base = f"/automations/{automation_id}"
    for path in (base, f"{base}/runs", f"{base}/runs?status=waiting&contact={contact_id}"):
        assert run in page(owner, shop, path), path
    assert run in page(owner, shop, f"/contacts/{contact_id}")
    assert run in page(owner, shop, f"/events/{event_id}")
    assert "No run matches" in page(owner, shop, f"{base}/runs?status=failed")
    assert run in page(owner, shop, f"{base}/runs?version=1&at_step=rest")
    assert "No run matches" in page(owner, shop, f"{base}/runs?version=2&at_step=rest")
    assert "must be the key of a step" in page(owner, shop, f"{base}/runs?at_step=A", 422)
    assert "version=1&amp;at_step=rest" in page(owner, shop, f"{base}/stats")
    assert "not a valid contact id" in page(owner, shop, f"{base}/runs?contact=x", 422)
    text = page(owner, shop, run)
    assert "The delay began" in text
    assert "mike-7" not in text
    cancelled = owner.post(f"{shop.path}{run}/cancel", {"reason": "by mistake"})
    assert "The run is cancelled." in said(owner, cancelled.headers["location"])
    assert "by mistake" in page(owner, shop, run)
    again = owner.post(f"{shop.path}{run}/cancel", {"reason": "x"})
    assert "Nothing was changed" in said(owner, again.headers["location"])
    page(owner, shop, f"/automation-runs/{ABSENT}", 404)


def test_a_dead_letter_of_a_run_links_to_it(owner: Person, shop: Shop) -> None:
    large = "x" * 9_000
    of = definition()
    change = {"set": {"properties.b": {"from": "trigger.payload.b"}}}
    of["steps"] = [{"key": "rest", "type": "contact_update", "config": change}]
    automation_id = new_automation(shop, of)
    shop.client.post(f"/automations/{automation_id}/publish")
    body = {"external_id": "full", "properties": {"a": large}}
    assert shop.client.post("/contacts", json=body).status_code == 201
    event_id = shop.send("go", external_id="full", payload={"b": large})
    run_id = started(shop, automation_id)
    letters = "/dead-letters?kind=automation"
    shop.wait(lambda: bool(shop.client.get(letters).json()["data"]))
    assert f"/automation-runs/{run_id}" in page(owner, shop, "/dead-letters/list?kind=automation")
    assert f"/automation-runs/{run_id}" in page(owner, shop, f"/events/{event_id}")


def test_a_person_is_explained(owner: Person, shop: Shop) -> None:
    automation_id = new_automation(
        shop, definition(filters={"n_gte": 10}, reentry={"mode": "once"})
    )
    shop.client.post(f"/automations/{automation_id}/publish")
    base = f"/automations/{automation_id}"
    small = shop.send("go", external_id="mike-7", payload={"n": 3})
    shop.send("go", external_id="mike-7", payload={"n": 10})
    shop.send("go", external_id="mike-7", payload={"n": 11})
    started(shop, automation_id)
    shop.wait(lambda: bool(shop.client.get(f"{base}/rejected-starts").json()["data"]))
    rejected = page(owner, shop, f"{base}/rejected-starts")
    assert "reentry once" in rejected
    text = html.unescape(page(owner, shop, f"{base}/explain?person=mike-7"))
    for expected in ("The event started a run.", "reentry once", "n gte 10 does not hold"):
        assert expected in text
    assert "evaluated now" in text
    assert "the value is" not in text
    assert "n gte 10 does not hold" in page(owner, shop, f"/events/{small}")
    reveal(shop, owner)
    assert "the value is <code>3</code>" in page(owner, shop, f"{base}/explain?person=mike-7")
    for nobody in ("Mike-7", "a@b.example", ABSENT):
        text = page(owner, shop, f"{base}/explain?person={nobody}", 422)
        assert "No contact has this" in text
