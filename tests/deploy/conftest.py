"""Files in deploy/, tried with the real programs that read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import RunningServer, running_server

DEPLOY = Path(__file__).parents[2] / "deploy"
PUBLIC_URL = "https://events.example.org"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server with the settings that the examples of proxies name."""
    settings = {"HEADRACE_PUBLIC_URL": PUBLIC_URL, "HEADRACE_TRUSTED_PROXIES": "127.0.0.1/32"}
    with running_server(tmp_path_factory.mktemp("server"), env=settings) as running:
        yield running
