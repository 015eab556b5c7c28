"""The overview in a browser: rendered, readable, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headrace.domain.timestamps import now_us
from tests.backoffice.browser.conftest import OpenWindow
from tests.backoffice.browser.window import Window
from tests.backoffice.cast import Person, in_store, make_project, project_path
from tests.backoffice.shop import Shop, open_shop
from tests.support.past_traffic import past_traffic
from tests.support.server import RunningServer

URL = "https://hooks.invalid/orders"


@pytest.fixture(scope="module")
def busy(server: RunningServer) -> Iterator[Shop]:
    """A project with a month of traffic and two subscribers."""
    with open_shop(server, "busy project") as shop:
        webhooks = [shop.make_webhook(f"{URL}/{number}", "never.sent") for number in (1, 2)]

        async def fill(store: object) -> None:
            for subject in ("", *webhooks):
                await past_traffic(store, shop.project.id, now_us(), subject)  # type: ignore[arg-type]

        in_store(server, fill)
        yield shop


@pytest.mark.parametrize("span", ["hour", "day", "month"])
def test_every_span_is_drawn(new_window: OpenWindow, owner: Person, busy: Shop, span: str) -> None:
    window = new_window(owner)
    page = window.go(f"{busy.path}?span={span}")
    assert page.locator("svg.chart-marks").count() == 5
    assert page.locator("svg.chart-marks rect").count() > 50
    assert page.locator("svg.chart-marks path.line").count() == 6
    label = page.locator("svg.chart-marks").first.get_attribute("aria-label") or ""
    assert label.startswith("Ingestion, events/min. In the last ")
    assert page.get_by_role("link", name="hooks.invalid/orders/1").count() == 1
    window.check_axe()
    window.check_width()
    window.shoot(f"overview-{span}")


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1600, "dark")])
def test_it_fits(
    new_window: OpenWindow, owner: Person, busy: Shop, width: int, scheme: str
) -> None:
    window = new_window(owner, width=width, scheme=scheme)
    window.go(busy.path)
    window.check_axe()
    window.check_width()
    window.shoot(f"overview-{width}-{scheme}")


def test_charts_have_their_numbers_as_text(window: Window, busy: Shop) -> None:
    page = window.go(busy.path)
    page.get_by_text("View data of Ingestion").click()
    table = page.get_by_role("region", name="Data of Ingestion")
    assert table.get_by_role("columnheader", name="accepted").is_visible()
    assert table.get_by_role("row").count() > 30


def test_an_empty_project_says_what_to_do(window: Window, server: RunningServer) -> None:
    project = make_project(server, "empty overview")
    page = window.go(project_path(project))
    assert page.get_by_role("heading", name="No event yet").is_visible()
    window.check_axe()
    window.shoot("overview-empty")
