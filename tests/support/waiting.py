"""Waiting for another process without guessing how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

DEADLINE_SECONDS = 20.0


def wait_until(found: Callable[[], bool], what: str, timeout_s: float = DEADLINE_SECONDS) -> float:
    """Repeat a check until it succeeds; returns the seconds it took.

    Raises:
        AssertionError: it did not succeed in time.
    """
    started = time.monotonic()
    while not found():
        assert time.monotonic() - started < timeout_s, f"never happened: {what}"
        # Lets the other process use the core that this loop would occupy.
        os.sched_yield()
    return time.monotonic() - started


def wait_for_text(path: Path, text: str) -> None:
    """Wait until a file that another process writes contains `text`."""
    wait_until(lambda: path.exists() and text in path.read_text("utf-8"), f"{text!r} in {path}")
