"""Push apps and devices on pages: created, listed, and what failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.cast import Person
from tests.backoffice.shop import Shop, open_shop, page
from tests.support.server import RunningServer


@pytest.fixture
def shop(server: RunningServer, numbers: Iterator[int]) -> Iterator[Shop]:
    """A project of its own."""
    with open_shop(server, f"push {next(numbers)}") as shop:
        yield shop


def test_an_app_and_its_devices_are_shown(owner: Person, shop: Shop) -> None:
    answer = owner.post(
        f"{shop.path}/push-apps", {"name": "<Shop>", "origins": "https://shop.example.org"}
    )
    assert answer.status_code == 303, answer.text
    path = answer.headers["location"].removeprefix("/backoffice" + shop.path)
    app = shop.client.get("/push/apps").json()["data"][0]
    device = {"app_id": app["id"], "device_id": "d1", "platform": "ios"}
    body = {**device, "user_external_id": "ann", "device_model": "<b>iPhone"}
    assert shop.client.post("/v1/register", json=body).status_code == 200
    text = page(owner, shop, path)
    assert app["public_key"] in text
    assert "&lt;Shop&gt;" in text
    assert "no token or subscription yet" in text
    assert "PRIVATE KEY" not in text
    shown = page(owner, shop, f"{path}/devices/d1")
    assert "&lt;b&gt;iPhone" in shown
    contact_id = shop.client.get("/contacts?external_id=ann").json()["data"][0]["id"]
    assert f"/push-apps/{app['id']}/devices/d1" in page(owner, shop, f"/contacts/{contact_id}")
    again = owner.post(f"{shop.path}/push-apps", {"name": "<Shop>"})
    assert again.status_code == 409
    bad = owner.post(f"{shop.path}/push-apps", {"name": "Other", "origins": "shop"})
    assert bad.status_code == 422
    assert owner.post(f"{shop.path}{path}/delete").status_code == 303
    assert shop.client.get("/push/apps").json()["data"] == []


def test_the_last_failure_of_a_device_is_in_words(owner: Person, shop: Shop) -> None:
    app_id = shop.client.post("/push/apps", json={"name": "Shop"}).json()["data"]["id"]
    phone = {"app_id": app_id, "device_id": "d1", "platform": "android", "registration_id": "t"}
    shop.client.post("/v1/register", json={**phone, "user_external_id": "ann"})
    test = {"app_id": app_id, "device_id": "d1", "title": "a", "body": "b"}
    assert shop.client.post("/push/tests", json=test).status_code == 201
    device = f"/push/apps/{app_id}/devices/d1"
    shop.wait(lambda: shop.client.get(device).json()["data"]["last_failure"] == "not_supported")
    contact_id = shop.client.get("/contacts?external_id=ann").json()["data"][0]["id"]
    base = f"/push-apps/{app_id}"
    for path in (base, f"{base}/devices/d1", f"/contacts/{contact_id}"):
        assert "not supported" in page(owner, shop, path)
