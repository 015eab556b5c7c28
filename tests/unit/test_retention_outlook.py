"""The report about retention and the day the disk will be full."""

from __future__ import annotations

import pytest

from headrace.cli.doctor.finding import Level
from headrace.cli.doctor.retention import DAYS_TO_FULL_MIN, Kept, check_retention
from headrace.domain.upkeep.retention import (
    DAY_US,
    HOUR_US,
    GrowthSample,
    bytes_per_day,
    days_to_full,
)
from headrace.observability.retention_metrics import retention_families
from headrace.store.contract.health import StoreHealth
from headrace.store.contract.retention import Growth, RetentionState, SpaceUse

NOW_US = 1_780_928_100_000_000
MIB = 1024 * 1024


def samples(*used: tuple[int, int]) -> list[GrowthSample]:
    return [GrowthSample(hour, used_bytes) for hour, used_bytes in used]


@pytest.mark.parametrize(
    ("used", "daily"),
    [
        ((), None),
        (((5, 100),), None),
        (((5, 100), (6, 150)), 1200.0),
        (((5, 100), (29, 150)), 50.0),
        (((5, 200), (29, 150)), -50.0),
        # Data from before the last seven days does not count.
        (((0, 0), (500, 1000), (524, 1010)), 10.0),
    ],
)
def test_growth_is_estimated_from_the_last_days(
    used: tuple[tuple[int, int], ...], daily: float | None
) -> None:
    assert bytes_per_day(samples(*used)) == daily


def test_a_store_that_does_not_grow_is_never_full() -> None:
    assert days_to_full(samples((1, 100), (25, 100)), 1) is None
    assert days_to_full(samples((1, 100), (25, 90)), 1) is None
    assert days_to_full(samples((1, 100), (25, 110)), 50) == 5.0


def findings(
    state: RetentionState | None = None,
    daily: int = 0,
    room: int = 100 * MIB,
    space: SpaceUse | None = None,
) -> list[tuple[Level, str]]:
    health = StoreHealth(
        kind="sqlite",
        location="h.db",
        version="3",
        schema_version=3,
        durability={},
        size_bytes=0,
        log_bytes=0,
        free_bytes=300 * MIB + room // 2,
    )
    growth = Growth(samples((0, 0), (24, daily)), room // 2)
    found = check_retention(Kept(state, growth, space), health, NOW_US, 300 * MIB)
    return [(each.level, f"{each.found} {each.advice}".strip()) for each in found]


def test_room_inside_the_store_counts_and_the_watermark_does_not() -> None:
    (_, (level, found)) = findings(daily=2 * MIB)
    assert level is Level.OK
    assert "room for 100 MiB more, 2.0 MiB a day: full in 50 days" in found


def test_a_disk_that_fills_soon_is_a_warning() -> None:
    (_, (level, _)) = findings(daily=100 * MIB // DAYS_TO_FULL_MIN + MIB)
    assert level is Level.WARN


@pytest.mark.parametrize(
    ("used", "free", "events", "found"),
    [
        (600 * MIB, 10 * MIB, MIB, "about 600 bytes per event, 10 MiB free inside the file"),
        (0, 0, 0, "few events yet, 0 MiB free inside the file"),
        (MIB, MIB, 999, "few events yet, 1 MiB free inside the file"),
        # Free space is worth a compaction when it is large in itself and beside the rest.
        (64 * MIB, 64 * MIB, MIB, "about 64 bytes per event, 64 MiB free inside the file"),
        (600 * MIB, 100 * MIB, MIB, "about 600 bytes per event, 100 MiB free inside the file"),
        (
            *(200 * MIB, 65 * MIB, MIB),
            (
                "about 200 bytes per event, 65 MiB free inside the file "
                "headrace compact gives back 65 MiB."
            ),
        ),
    ],
)
def test_bytes_per_event_and_space_to_give_back(
    used: int, free: int, events: int, found: str
) -> None:
    space = SpaceUse(used_bytes=used, reusable_bytes=free, events_about=events)
    assert findings(space=space)[1] == (Level.OK, found)


@pytest.mark.parametrize(
    ("state", "level"),
    [
        (None, Level.OK),
        (RetentionState(clock_us=NOW_US, at_us=NOW_US), Level.OK),
        (RetentionState(clock_us=NOW_US, at_us=NOW_US - HOUR_US), Level.WARN),
        (RetentionState(clock_us=NOW_US, at_us=NOW_US, lag_us=2 * DAY_US), Level.WARN),
    ],
)
def test_a_retention_that_is_silent_or_behind_is_a_warning(
    state: RetentionState | None, level: Level
) -> None:
    assert findings(state)[0][0] is level


def test_metrics_say_what_was_removed_and_how_far_behind() -> None:
    state = RetentionState(
        clock_us=0, at_us=5_000_000, events=2, dead_letters=1, rows=7, slices=3, lag_us=1_500_000
    )
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for family in retention_families(state)
        for sample in family.samples
    }
    assert shown["headrace_retention_removed_total", "event"] == 2
    assert shown["headrace_retention_removed_total", "dead_letter"] == 1
    assert shown["headrace_retention_removed_total", "other"] == 4
    assert shown["headrace_retention_transactions_total",] == 3
    assert shown["headrace_retention_lag_seconds",] == 1.5
    assert shown["headrace_retention_last_sweep_timestamp_seconds",] == 5
    assert list(retention_families(None)) == []
