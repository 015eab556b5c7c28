"""The short form of `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.__main__ import text_of
from tests.torture.run import Torture

KILLS = 22
SECONDS_MAX = 90.0


@pytest.mark.slow
def test_no_kill_loses_doubles_or_alters_what_was_acknowledged(tmp_path: Path) -> None:
    report = Torture(tmp_path, seed=20260608).run(KILLS, SECONDS_MAX)
    assert report.findings.clean, text_of(report)
    assert report.kills >= 20
    # The load was there: the kills met requests under way, and events had been acknowledged.
    assert report.requests_unanswered > KILLS
    assert report.events_acknowledged > KILLS * 10
