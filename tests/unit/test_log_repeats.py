"""A repeated failure logs one line, not one per attempt."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import structlog

from headrace.observability import repeats
from headrace.observability.events import (
    CATALOG_FAILED,
    REQUEST_FAILED,
    SERVER_STARTED,
    STORE_UNAVAILABLE,
)
from headrace.observability.repeats import EVERY_SECONDS, KINDS_MAX, Repeats


class Log:
    """A log with a clock that the test sets; returns each line that is not suppressed."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._repeats = Repeats(lambda: self.now_s)

    def told(self, error: str, name: str = STORE_UNAVAILABLE) -> dict[str, Any] | None:
        try:
            return dict(self._repeats(None, "warning", {"event": name, "error": error}))
        except structlog.DropEvent:
            return None


def test_repeated_lines_are_logged_periodically_with_a_count() -> None:
    log = Log()
    assert log.told("out of reach: refused") is not None
    for _ in range(3):
        assert log.told("out of reach: reset") is None
    assert log.told("another error") is not None
    log.now_s = EVERY_SECONDS
    line = log.told("out of reach: refused")
    assert line is not None
    assert line["left_out"] == 3
    log.now_s *= 2
    line = log.told("out of reach: refused")
    assert line is not None
    assert "left_out" not in line


def test_different_lines_are_all_logged() -> None:
    log = Log()
    assert all(log.told("the same", SERVER_STARTED) for _ in range(3))
    assert SERVER_STARTED not in repeats.LIMITED


@pytest.mark.parametrize("name", [REQUEST_FAILED, CATALOG_FAILED])
def test_a_caller_cannot_fill_the_log_nor_hide_another_fault(name: str) -> None:
    log = Log()
    assert sum(log.told("ValueError", name) is not None for _ in range(100)) == 1
    assert log.told("KeyError", name) is not None


def test_the_log_of_a_process_is_limited() -> None:
    code = (
        "import structlog; from headrace.observability.logs import configure_logs; "
        "configure_logs('info', 'json'); log = structlog.get_logger()\n"
        "for _ in range(50): log.error('request.failed', error='ValueError')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("kinds", [KINDS_MAX, 10 * KINDS_MAX])
def test_number_of_remembered_kinds_is_bounded(kinds: int) -> None:
    log = Log()
    assert all(log.told(f"error {number}") for number in range(kinds))
    assert len(log._repeats._emitted) == KINDS_MAX
