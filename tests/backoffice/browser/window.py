"""A browser window that records every error in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Page,
    Request,
    Response,
)

from tests.backoffice.cast import COOKIE
from tests.support.server import RunningServer

ROOT = Path(__file__).parents[3]
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Since text rendering differs between machines.
    "--font-render-hinting=none",
]
ACTION_SECONDS_MAX = 20.0
#: Screenshots, kept for review; not part of the repository.
SCREENSHOTS = ROOT / "build" / "screenshots"
#: Attempts at one screenshot.
SHOTS_MAX = 3
AXE = ROOT / "tests" / "backoffice" / "node" / "node_modules" / "axe-core" / "axe.min.js"
#: Severities of axe findings that fail a test.
GRAVE = frozenset({"serious", "critical"})


class Window:
    """One page in its own browser context, and the errors in it."""

    def __init__(self, context: BrowserContext, page: Page, server: RunningServer) -> None:
        self.context = context
        self.page = page
        self.server = server
        self.wrong: list[str] = []
        #: Expected statuses; all others from 400 on are errors.
        self.expected: set[int] = set()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._on_request)
        page.on("response", self._on_response)

    def _on_console(self, message: ConsoleMessage) -> None:
        # The browser logs statuses that the test expects; `_on_response` checks them.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrong.append(f"console: {message.text}")

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        ours = urlsplit(self.server.url).netloc
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != ours:
            self.wrong.append(f"another host was asked: {request.url}")

    def _on_response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.wrong.append(f"status {response.status} of {response.url}")

    def go(self, path: str) -> Page:
        """Open a page of the backoffice: `/projects`."""
        self.page.goto(f"{self.server.url}/backoffice{path}", wait_until="load")
        return self.page

    def check_axe(self) -> None:
        """Assert that axe-core has no serious or critical finding."""
        self.page.evaluate(AXE.read_text("utf-8"))
        found: Any = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        grave = [
            f"{each['id']} ({each['impact']}): {node['html'][:200]} - {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in GRAVE
            for node in each["nodes"]
        ]
        assert not grave, "\n".join([self.page.url, *grave])

    def check_width(self) -> None:
        """Assert that the page is not wider than the window."""
        wide: Any = self.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide[0] <= wide[1], f"{self.page.url} is {wide[0]} px wide in {wide[1]}"

    def shoot(self, name: str, *, full: bool = True) -> Path:
        """Save a screenshot of the page as `name.png`."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        path = SCREENSHOTS / f"{name}.png"
        for left in reversed(range(SHOTS_MAX)):
            try:
                self.page.screenshot(path=path, full_page=full, animations="disabled")
                break
            except Error:
                # Chromium refuses while it has no frame to show, which a busy machine delays.
                if not left:
                    raise
        return path

    def close(self) -> None:
        """Close the window and assert that it had no errors."""
        self.context.close()
        assert not self.wrong, "\n".join(self.wrong)


def open_window(
    browser: Browser, server: RunningServer, token: str, *, width: int, height: int, scheme: str
) -> Window:
    """Open a window; signed in when a session token is given."""
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        # So that no check runs in the middle of an animation.
        reduced_motion="reduce",
        timezone_id="Europe/Berlin",
        locale="en-GB",
    )
    context.set_default_timeout(ACTION_SECONDS_MAX * 1000)
    if token:
        cookie: Any = {"name": COOKIE, "value": token, "url": server.url, "httpOnly": True}
        context.add_cookies([cookie])
    return Window(context, context.new_page(), server)
