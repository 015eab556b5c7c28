"""Real Chromium. The driver's loop lives in this thread, so it ends with this folder's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.backoffice.browser.window import CHROMIUM, FLAGS, Window, open_window
from tests.backoffice.cast import Person
from tests.support.server import RunningServer

OpenWindow = Callable[..., Window]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The shared browser; each test has isolated windows."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def new_window(browser: Browser, server: RunningServer) -> Iterator[OpenWindow]:
    """Opens windows: `new_window(person, width=360, scheme="dark")`. Checked when the test ends."""
    opened: list[Window] = []

    def make(
        person: Person | None = None, *, width: int = 1280, height: int = 800, scheme: str = "light"
    ) -> Window:
        token = "" if person is None else person.token
        window = open_window(browser, server, token, width=width, height=height, scheme=scheme)
        opened.append(window)
        return window

    yield make
    for window in opened:
        window.close()


@pytest.fixture
def window(new_window: OpenWindow, owner: Person) -> Window:
    """A window of an owner of the instance, 1280 px wide, light."""
    return new_window(owner)
