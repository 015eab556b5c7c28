"""When delays end: durations, wall times across clock changes, dates from fields."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.automations.definition.durations import parse_duration
from headrace.domain.automations.definition.model import (
    DelayConfig,
    NextOrExit,
    Until,
    UntilField,
)
from headrace.domain.automations.definition.zones import at_wall_time, next_wall_time, zone_of
from headrace.domain.automations.filters.paths import Root, parse_path
from headrace.domain.automations.filters.values import MISSING
from headrace.domain.automations.running.delays import delay_due
from headrace.domain.automations.running.inputs import ContactChanged
from headrace.domain.automations.running.states import RunStatus
from headrace.domain.automations.running.view import RunPolicies, contact_zone
from headrace.domain.json_text import Number
from headrace.domain.timestamps import LATEST_US, parse, to_text
from tests.support.automation_runs import World, contact, event, version, view
from tests.support.definitions import chain, step

FIELD = parse_path("contact.properties.ends_on", frozenset({Root.CONTACT}))


def due(config: DelayConfig, begun: str, zone: str = "UTC", field: object = MISSING) -> str | None:
    found = delay_due(config, parse(begun), zone, field, "seed").at_us
    return None if found is None else to_text(found)


def until(clock: str, days: str = "", *, at_least: int = 0, zone: str | None = None) -> DelayConfig:
    hour, minute = map(int, clock.split(":"))
    names = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
    weekdays = frozenset(names.index(day) for day in days.split())
    return DelayConfig(
        until=Until(
            hour=hour, minute=minute, weekdays=weekdays, timezone=zone, at_least_seconds=at_least
        )
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3 days", 259_200),
        ("1 day", 86_400),
        ("90 minutes", 5400),
        ("2 weeks", 1_209_600),
        ("1hour", 3600),
        ("PT30M", 1800),
        ("P1D", 86_400),
        ("P1DT2H", 93_600),
        ("P2W", 1_209_600),
        ("PT1H30M5S", 5405),
    ],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "3", "days", "-1 day", "0 days", "P", "PT", "P1M", "P1Y", "P1WT1H", "T1H"),
        *("1.5 hours", "9" * 9 + " weeks", "P" + "9" * 1000 + "D", "١ day", "3 days "),
    ],
)
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("config", "begun", "zone", "expected"),
    [
        # 2026-06-08 is a Monday.
        (until("09:00"), "2026-06-08T08:59:59Z", "UTC", "2026-06-08T09:00:00.000Z"),
        (until("09:00"), "2026-06-08T09:00:00Z", "UTC", "2026-06-08T09:00:00.000Z"),
        (until("09:00"), "2026-06-08T09:00:00.001Z", "UTC", "2026-06-09T09:00:00.000Z"),
        (until("09:00", at_least=1), "2026-06-08T09:00:00Z", "UTC", "2026-06-09T09:00:00.000Z"),
        (until("09:00", "sat sun"), "2026-06-08T00:00:00Z", "UTC", "2026-06-13T09:00:00.000Z"),
        (until("09:00", "mon"), "2026-06-08T10:00:00Z", "UTC", "2026-06-15T09:00:00.000Z"),
        (until("09:00"), "2026-06-08T08:00:00Z", "Europe/Berlin", "2026-06-09T07:00:00.000Z"),
        (until("09:00"), "2026-06-08T00:00:00Z", "Asia/Kathmandu", "2026-06-08T03:15:00.000Z"),
        (
            until("09:00", "mon"),
            "2026-06-07T20:00:00Z",
            "Pacific/Auckland",
            "2026-06-07T21:00:00.000Z",
        ),
        (
            until("09:00", zone="Asia/Tokyo"),
            "2026-06-08T01:00:00Z",
            "UTC",
            "2026-06-09T00:00:00.000Z",
        ),
        # Clocks in Berlin go from 02:00 to 03:00 on 2026-03-29, and back from 03:00 on 2026-10-25.
        (until("02:30"), "2026-03-29T00:00:00Z", "Europe/Berlin", "2026-03-29T01:00:00.000Z"),
        (until("02:30"), "2026-03-29T01:00:00.001Z", "Europe/Berlin", "2026-03-30T00:30:00.000Z"),
        (until("03:00"), "2026-03-29T00:00:00Z", "Europe/Berlin", "2026-03-29T01:00:00.000Z"),
        (until("09:00"), "2026-03-28T09:00:00Z", "Europe/Berlin", "2026-03-29T07:00:00.000Z"),
        (until("02:30"), "2026-10-25T00:00:00Z", "Europe/Berlin", "2026-10-25T00:30:00.000Z"),
        (until("02:30"), "2026-10-25T00:45:00Z", "Europe/Berlin", "2026-10-26T01:30:00.000Z"),
        (
            until("02:30", "sun"),
            "2026-10-25T00:45:00Z",
            "Europe/Berlin",
            "2026-11-01T01:30:00.000Z",
        ),
        # Half an hour on Lord Howe, a day without midnight in Havana, and a day skipped in Samoa.
        (until("02:15"), "2026-10-03T10:00:00Z", "Australia/Lord_Howe", "2026-10-03T15:30:00.000Z"),
        (until("00:30"), "2026-03-08T04:00:00Z", "America/Havana", "2026-03-08T05:00:00.000Z"),
        (until("09:00"), "2011-12-30T09:30:00Z", "Pacific/Apia", "2011-12-30T10:00:00.000Z"),
        (until("09:00"), "2011-12-30T10:00:00Z", "Pacific/Apia", "2011-12-30T10:00:00.000Z"),
        (until("09:00"), "2011-12-30T10:00:01Z", "Pacific/Apia", "2011-12-30T19:00:00.000Z"),
        # Leap days.
        (until("09:00"), "2028-02-28T10:00:00Z", "UTC", "2028-02-29T09:00:00.000Z"),
        (until("09:00", "tue"), "2028-02-28T10:00:00Z", "UTC", "2028-02-29T09:00:00.000Z"),
        (until("09:00"), "2027-02-28T10:00:00Z", "UTC", "2027-03-01T09:00:00.000Z"),
    ],
)
def test_until_a_time_of_day(config: DelayConfig, begun: str, zone: str, expected: str) -> None:
    assert due(config, begun, zone) == expected


def minute_by_minute(start: datetime, wall: time, zone: ZoneInfo) -> datetime:
    """Advance until the wall clock shows the time, or has skipped it."""
    moment = start
    before = moment.astimezone(zone).replace(tzinfo=None)
    target = datetime.combine(before.date(), wall)
    if before > target:
        target += timedelta(days=1)
    while True:
        shown = moment.astimezone(zone).replace(tzinfo=None)
        if shown >= target:
            return moment
        moment += timedelta(minutes=1)


@given(
    st.sampled_from(
        [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "America/Havana",
            "Africa/Cairo",
        ]
    ),
    st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)),  # noqa: DTZ001
    st.times(),
)
def test_local_times_match_a_minute_by_minute_walk(
    zone_name: str, start: datetime, wall: time
) -> None:
    zone = ZoneInfo(zone_name)
    begun = start.replace(second=0, microsecond=0, tzinfo=UTC)
    wall = wall.replace(second=0, microsecond=0)
    walked = minute_by_minute(begun, wall, zone)
    # Where a wall time occurs twice, the search may start between the two.
    offsets = {(begun + timedelta(hours=hour)).astimezone(zone).utcoffset() for hour in (-3, 30)}
    found = next_wall_time(round(begun.timestamp()) * 1_000_000, wall, frozenset(), zone)
    if len(offsets) == 1:
        assert found == round(walked.timestamp()) * 1_000_000
    assert found is not None
    assert found >= round(begun.timestamp()) * 1_000_000
    assert found - round(begun.timestamp()) * 1_000_000 <= 49 * 3600 * 1_000_000


@given(
    st.sampled_from(["Europe/Berlin", "America/Havana", "Pacific/Apia", "Australia/Lord_Howe"]),
    st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    st.times(),
)
def test_a_wall_time_exists_or_was_skipped_by_a_clock_change(
    zone_name: str, day: date, wall: time
) -> None:
    zone = zone_of(zone_name)
    assert zone is not None
    naive = datetime.combine(day, wall)
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at_wall_time(day, wall, zone))
    shown = moment.astimezone(zone)
    if shown.replace(tzinfo=None) != naive:
        just_before = (moment - timedelta(microseconds=1)).astimezone(zone)
        assert just_before.replace(tzinfo=None) < naive < shown.replace(tzinfo=None)
    elif shown.fold:
        pytest.fail("of two moments it is the second")


def until_field(offset: int = 0, *, past: str = "next", missing: str = "next") -> DelayConfig:
    return DelayConfig(
        until_field=UntilField(
            field=FIELD,
            offset_seconds=offset,
            if_past=NextOrExit(past),
            if_missing=NextOrExit(missing),
        )
    )


@pytest.mark.parametrize(
    ("value", "offset", "expected"),
    [
        ("2026-06-20T10:00:00+02:00", 0, "2026-06-20T08:00:00.000Z"),
        ("2026-06-20", 0, "2026-06-19T22:00:00.000Z"),
        ("2026-06-20", -86_400, "2026-06-18T22:00:00.000Z"),
        ("2026-12-20", 0, "2026-12-19T23:00:00.000Z"),
        ("2028-02-29", 0, "2028-02-28T23:00:00.000Z"),
        ("2027-02-29", 0, None),
        ("2026-06-01", 0, None),
        ("9999-12-31", 0, "9999-12-30T23:00:00.000Z"),
        ("9999-12-31T23:59:59Z", 86_400, to_text(LATEST_US)),
        ("0001-01-01", 0, None),
        ("tomorrow", 0, None),
        (Number("1780876800"), 0, None),
        (MISSING, 0, None),
        (["2026-06-20"], 0, None),
    ],
)
def test_until_a_field(value: object, offset: int, expected: str | None) -> None:
    assert due(until_field(offset), "2026-06-08T00:00:00Z", "Europe/Berlin", value) == expected


@pytest.mark.parametrize(
    ("value", "setting", "status"),
    [
        ("2020-01-01", {"if_past": "exit"}, RunStatus.EXITED),
        ("2020-01-01", {"if_missing": "exit"}, RunStatus.COMPLETED),
        ("soon", {"if_missing": "exit"}, RunStatus.EXITED),
        ("soon", {"if_past": "exit"}, RunStatus.COMPLETED),
    ],
)
def test_past_or_missing_times_continue_or_end_the_run(
    value: str, setting: dict[str, str], status: RunStatus
) -> None:
    config = {"field": "contact.properties.ends_on"} | setting
    world = World(
        version(chain(step("d", "delay", until_field=config))), view(contact=contact(ends_on=value))
    )
    assert world.begin(event("checkout.started", 0)).status is status


def test_the_spread_is_stable_for_a_run_and_within_bounds() -> None:
    config = DelayConfig(seconds=60, spread_seconds=600)
    found = [delay_due(config, 0, "UTC", MISSING, f"run{index}/step").at_us for index in range(500)]
    again = [delay_due(config, 0, "UTC", MISSING, f"run{index}/step").at_us for index in range(500)]
    assert found == again
    low, high = 60 * 1_000_000, 660 * 1_000_000
    assert all(each is not None and low <= each <= high for each in found)
    assert len(set(found)) > 490


def test_a_change_of_the_contact_moves_a_delay_that_depends_on_it() -> None:
    definition = chain(step("d", "delay", until={"time": "09:00"}))
    world = World(version(definition), view(contact=contact(timezone="Europe/Berlin")))
    world.begin(event("checkout.started", 0))
    standing = world.state.open_wait
    assert standing is not None
    assert standing.due_us == parse("2026-06-08T07:00:00Z")
    world.view = view(contact=contact(timezone="America/New_York"))
    world.take(ContactChanged())
    assert world.state.open_wait is not None
    assert world.state.open_wait.due_us == parse("2026-06-08T13:00:00Z")
    assert world.state.open_wait.id == standing.id
    assert world.reasons()[-1] == "delay_moved"


def test_the_date_of_a_field_can_move_while_a_run_waits_for_it() -> None:
    definition = chain(step("d", "delay", until_field={"field": "contact.properties.ends_on"}))
    world = World(version(definition), view(contact=contact(ends_on="2026-07-01")))
    world.begin(event("checkout.started", 0))
    world.view = view(contact=contact(ends_on="2026-08-01"))
    world.take(ContactChanged())
    assert world.state.open_wait is not None
    assert world.state.open_wait.due_us == parse("2026-08-01T00:00:00Z")


def test_explicit_zone_is_not_moved() -> None:
    until_config = {"time": "09:00", "timezone": "Asia/Tokyo"}
    world = World(version(chain(step("d", "delay", until=until_config))))
    before = world.begin(event("checkout.started", 0))
    world.view = view(contact=contact(timezone="America/New_York"))
    assert world.take(ContactChanged()) == before


@pytest.mark.parametrize(
    ("own", "device", "default", "zone"),
    [
        ("Europe/Berlin", "Asia/Tokyo", "UTC", "Europe/Berlin"),
        ("Mars/Base", "Asia/Tokyo", "UTC", "Asia/Tokyo"),
        (7, None, "America/New_York", "America/New_York"),
        ("../../etc/passwd", None, "UTC", "UTC"),
        ("localtime", None, "UTC", "UTC"),
        ("right/Europe/Berlin", None, "UTC", "UTC"),
        ("Europe", "europe/" + "x" * 100, "nowhere", "UTC"),
        ("\ud800", "\x00", "", "UTC"),
    ],
)
def test_the_zone_of_a_contact(own: object, device: str | None, default: str, zone: str) -> None:
    seen = view(
        RunPolicies(default_timezone=default),
        contact=contact(timezone=own),
        device_timezone=device,
    )
    assert contact_zone(seen) == zone
