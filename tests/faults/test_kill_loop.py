"""The short form of `make torture`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.__main__ import text_of
from tests.torture.run import Torture

KILLS = 12
#: On a busy machine each kill waits for a slow start.
SECONDS_MAX = 240.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_kill_loses_duplicates_or_alters_acknowledged_events(tmp_path: Path) -> None:
    report = Torture(tmp_path, seed=20260608).run(KILLS, SECONDS_MAX)
    assert report.findings.clean, text_of(report)
    assert report.kills >= 11
    # There was load: kills hit requests in progress, and events had been acknowledged.
    assert report.requests_unanswered > KILLS
    assert report.events_acknowledged > KILLS * 10
