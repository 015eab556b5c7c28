"""The short form of `make torture-automations`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.places import PostgresPlace, SqlitePlace
from tests.torture.automations import AutomationTorture, text_of
from tests.torture.rows import PostgresRows, SqliteRows

SEED = 20261130
RUNS, KILLS = 40, 6


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_effect_of_runs_happens_once_on_sqlite(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    place.path.parent.mkdir()
    torture = AutomationTorture(tmp_path, place.url, SqliteRows(place.path), runs=RUNS, seed=SEED)
    report = torture.run(KILLS)
    assert report.clean, text_of(report)
    assert sum(report.kills.values()) == KILLS
    # The event that the run of one person waits for was a dead letter.
    assert report.replayed > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_effect_of_runs_happens_once_on_postgres(tmp_path: Path) -> None:
    place = PostgresPlace()
    try:
        torture = AutomationTorture(
            tmp_path, place.url, PostgresRows(place), runs=RUNS, seed=SEED + 1
        )
        report = torture.run(KILLS)
    finally:
        place.remove()
    assert report.clean, text_of(report)
    assert sum(report.kills.values()) == KILLS
    # The event that the run of one person waits for was a dead letter.
    assert report.replayed > 0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_mail_that_is_sent_twice_is_noticed(tmp_path: Path) -> None:
    """The control run: mail that a dead worker had begun is sent again."""
    place = SqlitePlace(tmp_path)
    place.path.parent.mkdir()
    torture = AutomationTorture(
        tmp_path, place.url, SqliteRows(place.path), runs=20, seed=SEED, guarded=False
    )
    assert torture.run(2).mails_twice > 0
