from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Deliveries run on the event loop that the server uses."""
    return "asyncio", {"use_uvloop": True}
