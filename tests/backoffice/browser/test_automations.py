"""Pages of automations in a browser: readable, narrow and wide, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import Person
from tests.backoffice.shop import Shop, open_shop
from tests.support.server import RunningServer

LONG = "w" * 60
SENTENCE = ".timeline li"


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """A project with an automation, a run, a rejected start and an event that does not match."""
    with open_shop(server, "automations in a browser") as shop:
        _fill(shop)
        yield shop


def _fill(shop: Shop) -> None:
    steps: list[dict[str, Any]] = [
        {"key": "ask", "type": "condition", "config": {"filters": {"payload.n_gte": 100}}},
        {"key": LONG[:40], "type": "delay", "config": {"seconds": 3600}},
    ]
    definition = {
        "trigger": {
            "event_name": "go",
            "filters": {"n_gte": 10},
            "reentry": {"mode": "once"},
        },
        "steps": steps,
        "connections": [
            {"from": "trigger", "to": "ask"},
            {"from": "ask", "to": LONG[:40], "branch": "false"},
        ],
    }
    body = {"name": f"Checkout {LONG}", "description": LONG * 2, "definition": definition}
    answer = shop.client.post("/automations", json=body)
    assert answer.status_code == 201, answer.text
    made = answer.json()["data"]
    shop.client.post(f"/automations/{made['id']}/publish")
    for number in (3, 10, 11):
        shop.send("go", external_id=f"mike-{LONG}", payload={"n": number})
    shop.wait(
        lambda: bool(shop.client.get(f"/automations/{made['id']}/rejected-starts").json()["data"])
    )
    unfinished = {**definition, "connections": []}
    shop.client.patch(f"/automations/{made['id']}", json={"definition": unfinished})


def paths_of(shop: Shop) -> list[str]:
    (made,) = shop.client.get("/automations").json()["data"]
    (run,) = shop.client.get(f"/automations/{made['id']}/runs").json()["data"]
    base = f"/automations/{made['id']}"
    return [
        "/automations",
        base,
        f"{base}/versions/1",
        f"{base}/runs",
        f"{base}/rejected-starts",
        f"{base}/explain?person=mike-{LONG}",
        f"/automation-runs/{run['id']}",
        f"/contacts/{run['contact_id']}",
        f"/events/{shop.sent[0]}",
    ]


@pytest.mark.parametrize(
    ("width", "scheme"), [(360, "dark"), (360, "light"), (1280, "dark"), (1600, "light")]
)
def test_pages_of_automations_fit_and_are_accessible(
    new_window: OpenWindow, owner: Person, shop: Shop, width: int, scheme: str
) -> None:
    window = new_window(owner, width=width, height=900, scheme=scheme)
    for number, path in enumerate(paths_of(shop)):
        window.go(shop.path + path)
        window.check_width()
        if (width, scheme) in ((360, "dark"), (1600, "light")):
            window.check_axe()
        window.shoot(f"automations-{number}-{width}-{scheme}")


def test_a_short_key_of_a_step_stays_on_one_line(
    new_window: OpenWindow, owner: Person, shop: Shop
) -> None:
    page = new_window(owner, width=1440, height=900).go(shop.path + paths_of(shop)[1])
    key = page.locator("td.step code").first
    lines = key.evaluate("e => { e.textContent = 'clicked'; return e.getClientRects().length; }")
    assert lines == 1


def test_a_person_is_explained_and_the_run_cancelled(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/automations")
    page.locator("tbody a").first.click()
    page.get_by_role("link", name="Explain a person").click()
    page.get_by_label("Person").fill(f"mike-{LONG}")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("main")).to_contain_text("reentry once")
    expect(page.locator("main")).to_contain_text("evaluated now")
    page.get_by_role("link", name="Run", exact=True).first.click()
    expect(page.locator(SENTENCE).first).to_contain_text("The event started a run")
    page.get_by_role("button", name="Cancel").first.click()
    page.get_by_label("Reason").fill("by mistake")
    window.check_axe()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator(SENTENCE).last).to_contain_text("by mistake")
