"""The catalog in a browser: sent events appear, and hostile keys are inert."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import Person
from tests.backoffice.shop import Shop, open_shop
from tests.support.server import RunningServer

HOSTILE = {
    "<script>document.title='run'</script>": 1,
    '"><img src=x onerror=alert(1)>': "x",
    "{{7*7}}": True,
    "\u202egnp.exe": None,
    "e\u0301" * 30: [1],
    "a" * 79: {"b" * 79: 1},
}
ORDER = {
    "order_id": "ord_1",
    "total": 12.5,
    "currency": "EUR",
    "customer": {"email": "canary@x.example", "first_name": "Canary"},
    "items": [{"sku": "A-1", "qty": 2}],
}


@pytest.fixture(scope="module")
def shop(server: RunningServer) -> Iterator[Shop]:
    """Orders whose shape changes, and a hostile event."""
    with open_shop(server, "shop of the catalog") as shop:
        for number in range(3):
            shop.send("order.completed", external_id=f"u{number}", payload=ORDER)
        shop.send("order.completed", external_id="u1", payload={**ORDER, "total": "12.50"})
        shop.send("order.completed", external_id="u2", payload={**ORDER, "gift": True})
        shop.send("user.seen", external_id="u1", payload={"ip": "192.0.2.7"})
        shop.send("very.hostile", external_id="u1", payload={"a": 1})
        shop.send("very.hostile", external_id="u1", payload=HOSTILE)
        for event_id in shop.sent:
            shop.wait_until_processed(event_id)
        yield shop


def test_names_are_found(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/catalog")
    assert page.get_by_role("link", name="order.completed").is_visible()
    window.check_axe()
    window.shoot("catalog")
    page.get_by_label("Personal data").select_option("ip_address")
    page.get_by_role("button", name="Filter").click()
    assert page.get_by_role("link", name="user.seen").is_visible()
    assert page.get_by_role("link", name="order.completed").count() == 0
    page.get_by_label("Name begins with").fill("nothing")
    page.get_by_role("button", name="Filter").click()
    assert page.get_by_role("heading", name="No name matches").is_visible()


def test_a_name_shows_paths_drift_and_example(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/catalog")
    page.get_by_role("link", name="order.completed").click()
    text = page.locator("main").inner_text()
    assert "customer.first_name" in text
    assert "total is now also a string" in text
    assert "anary" not in page.content()
    window.check_axe()
    window.shoot("catalog-name")
    page.get_by_role("link", name=shop.sent[3]).click()
    assert shop.sent[3] in page.url


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "dark")])
def test_it_fits(
    new_window: OpenWindow, owner: Person, shop: Shop, width: int, scheme: str
) -> None:
    window = new_window(owner, width=width, scheme=scheme)
    for path in ("/catalog", "/catalog/order.completed", "/catalog/very.hostile"):
        window.go(shop.path + path)
        window.check_axe()
        window.check_width()
        window.shoot(f"{path.strip('/').replace('/', '-')}-{width}-{scheme}")


def test_hostile_keys_are_inert(window: Window, shop: Shop) -> None:
    page = window.go(f"{shop.path}/catalog/very.hostile")
    assert "run" not in page.title()
    assert page.locator("img").count() == 0
    text = page.locator("main").inner_text()
    assert "{{7*7}}" in text
    assert "onerror" in text
