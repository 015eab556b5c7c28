"""Guardrails in order, and quiet hours in zones with clock changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.json_text import Number
from headrace.domain.messages.guardrails import (
    SPREAD_US,
    Decision,
    Facts,
    Guardrail,
    Reason,
    Suppression,
    caps_to_count,
    judge,
    trace,
)
from headrace.domain.messages.kinds import (
    Channel,
    MessageKind,
    SuppressionReason,
    SuppressionScope,
)
from headrace.domain.messages.send_times import (
    QuietHours,
    SendWindow,
    choose_zone,
    find_zone,
    first_allowed_us,
    in_window,
    is_quiet,
)
from headrace.domain.messages.sending_policies import (
    SendingPolicies,
    parse_frequency_caps,
    parse_quiet_hours,
    parse_send_windows,
    parse_sending_paused,
)

HOUR_US = 3_600_000_000
TOPIC = "c6717a52-1c61-4b7c-9d0f-6f1f3c5f2a10"
FACTS = Facts(
    message_id="m1",
    channel=Channel.MAIL,
    kind=MessageKind.MARKETING,
    sending_domain="example.org",
    topic_id=TOPIC,
)
TRANSACTIONAL = replace(FACTS, kind=MessageKind.TRANSACTIONAL)
POLICIES = SendingPolicies()


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


NOON_US = us("2026-06-10T12:00:00+00:00")


def policies(**changes: Any) -> SendingPolicies:
    return msgspec.structs.replace(POLICIES, **changes)


def verdict_of(facts: Facts, rules: SendingPolicies = POLICIES, now_us: int = NOON_US) -> Any:
    found = judge(facts, rules, now_us)
    return (found.decision, found.reason)


def test_everything_passes_in_order() -> None:
    verdicts = trace(FACTS, POLICIES, NOON_US)
    assert [one.guardrail for one in verdicts] == list(Guardrail)
    assert {one.decision for one in verdicts} == {Decision.PASS}


def suppressed(reason: SuppressionReason, scope: SuppressionScope) -> tuple[Suppression, ...]:
    return (Suppression(reason=reason, scope=scope),)


HARD = suppressed(SuppressionReason.HARD_BOUNCE, SuppressionScope.ALL)
COMPLAINT = suppressed(SuppressionReason.COMPLAINT, SuppressionScope.MARKETING)
MANUAL_ALL = suppressed(SuppressionReason.MANUAL, SuppressionScope.ALL)


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (replace(FACTS, contact_erased=True), Reason.CONTACT_ERASED),
        (replace(FACTS, contact_deleted=True), Reason.CONTACT_DELETED),
        (replace(FACTS, has_contact=False), Reason.NO_CONTACT),
        (replace(FACTS, has_address=False), Reason.NO_ADDRESS),
        (replace(FACTS, has_address=False, channel=Channel.PUSH), Reason.NO_DEVICE),
        (replace(FACTS, suppressions=HARD), Reason.SUPPRESSED_HARD_BOUNCE),
        (replace(TRANSACTIONAL, suppressions=HARD), Reason.SUPPRESSED_HARD_BOUNCE),
        (replace(FACTS, suppressions=COMPLAINT), Reason.SUPPRESSED_COMPLAINT),
        (replace(TRANSACTIONAL, suppressions=MANUAL_ALL), Reason.SUPPRESSED_MANUAL),
        (replace(FACTS, unsubscribed_all=True, is_subscribed=False), Reason.UNSUBSCRIBED_ALL),
        (replace(FACTS, is_subscribed=False), Reason.UNSUBSCRIBED_TOPIC),
        (replace(FACTS, topic_id=None), Reason.NO_TOPIC),
    ],
)
def test_skipped(facts: Facts, reason: Reason) -> None:
    assert verdict_of(facts) == (Decision.SKIP, reason)


@pytest.mark.parametrize(
    "facts",
    [
        replace(TRANSACTIONAL, has_contact=False),
        replace(TRANSACTIONAL, suppressions=COMPLAINT),
        replace(TRANSACTIONAL, unsubscribed_all=True, is_subscribed=False),
        replace(TRANSACTIONAL, topic_id=None),
        # Unsubscribed from everything once, then chose this topic.
        replace(FACTS, unsubscribed_all=True, is_subscribed=True),
    ],
)
def test_passed(facts: Facts) -> None:
    assert verdict_of(facts) == (Decision.PASS, None)


def test_topicless_marketing_obeys_the_opt_out_of_everything() -> None:
    allowed = policies(topicless_marketing=True)
    assert verdict_of(replace(FACTS, topic_id=None), allowed) == (Decision.PASS, None)
    gone = replace(FACTS, topic_id=None, unsubscribed_all=True)
    assert verdict_of(gone, allowed) == (Decision.SKIP, Reason.UNSUBSCRIBED_ALL)


@pytest.mark.parametrize(
    ("value", "held"),
    [("none", False), ("all", True), ("mail", True), ("push", False), (["Example.org"], True)],
)
def test_emergency_stop_holds_every_kind(value: Any, held: bool) -> None:
    rules = policies(sending_paused=parse_sending_paused(value))
    for facts in (FACTS, TRANSACTIONAL):
        found = judge(replace(facts, first_deferred_us=0), rules, NOON_US)
        assert (found.reason is Reason.SENDING_PAUSED) == held
        assert found.until_us is None


def test_frequency_caps_skip_or_wait_until_the_window_has_moved_on() -> None:
    caps = parse_frequency_caps(
        [
            {"channel": "mail", "max": 2, "per_seconds": 86400, "on_cap": "defer"},
            {"channel": "push", "max": 1, "per_seconds": 60},
            {"channel": "mail", "max": 1, "per_seconds": 3600, "topic_id": TOPIC},
        ]
    )
    rules = policies(frequency_caps=caps)
    assert [index for index, _ in caps_to_count(FACTS, rules)] == [0, 2]
    assert list(caps_to_count(TRANSACTIONAL, rules)) == []
    full = replace(FACTS, cap_reached_us=(NOON_US - 20 * HOUR_US, None, None))
    found = judge(full, rules, NOON_US)
    assert found.reason is Reason.FREQUENCY_CAP_WAIT
    assert found.until_us == NOON_US + 4 * HOUR_US
    over = replace(FACTS, cap_reached_us=(None, None, NOON_US - 1))
    assert verdict_of(over, rules) == (Decision.SKIP, Reason.FREQUENCY_CAP)
    past = replace(FACTS, cap_reached_us=(NOON_US - 24 * HOUR_US, NOON_US, None))
    assert verdict_of(past, rules) == (Decision.PASS, None)


QUIET = parse_quiet_hours({"start": "21:00", "end": "08:00"})


def test_quiet_hours_use_the_zone_of_the_contact() -> None:
    rules = policies(quiet_hours=QUIET)
    tokyo = replace(FACTS, timezones=("nowhere", "Asia/Tokyo"))
    found = judge(tokyo, rules, NOON_US)
    assert (found.decision, found.reason) == (Decision.DEFER, Reason.QUIET_HOURS)
    assert found.rule == "in Asia/Tokyo"
    morning_us = us("2026-06-11T08:00:00+09:00")
    assert morning_us <= (found.until_us or 0) < morning_us + SPREAD_US
    assert verdict_of(FACTS, rules) == (Decision.PASS, None)
    assert verdict_of(replace(tokyo, kind=MessageKind.TRANSACTIONAL), rules)[0] is Decision.PASS


def test_send_windows_defer_to_the_next_one() -> None:
    windows = parse_send_windows([{"weekdays": ["mon"], "start": "09:00", "end": "09:05"}])
    found = judge(FACTS, policies(send_windows=windows, max_defer_hours=720), NOON_US)
    # Jitter never leaves a short window.
    assert us("2026-06-15T09:00:00+00:00") <= (found.until_us or 0)
    assert (found.until_us or 0) < us("2026-06-15T09:05:00+00:00")
    assert found.reason is Reason.SEND_WINDOW


def test_wait_that_is_too_long_is_a_skip() -> None:
    windows = parse_send_windows([{"weekdays": ["mon"], "start": "09:00", "end": "10:00"}])
    rules = policies(send_windows=windows)
    assert verdict_of(FACTS, rules) == (Decision.SKIP, Reason.MAX_DEFER)
    rules = policies(quiet_hours=QUIET)
    tired = replace(FACTS, timezones=("Asia/Tokyo",), first_deferred_us=NOON_US - 70 * HOUR_US)
    assert verdict_of(tired, rules) == (Decision.SKIP, Reason.MAX_DEFER)


def test_limit_of_the_day_waits_for_the_projects_midnight() -> None:
    rules = policies(send_limit_per_day={Channel.MAIL: 100}, default_timezone="America/New_York")
    found = judge(replace(TRANSACTIONAL, sent_today=100), rules, NOON_US)
    midnight_us = us("2026-06-11T00:00:00-04:00")
    assert found.reason is Reason.SEND_LIMIT
    assert midnight_us <= (found.until_us or 0) < midnight_us + SPREAD_US
    assert verdict_of(replace(TRANSACTIONAL, sent_today=99), rules)[0] is Decision.PASS


def test_pacing_comes_last() -> None:
    later = NOON_US + 1
    assert verdict_of(replace(FACTS, receiver_free_us=later))[1] is Reason.DOMAIN_THROTTLED
    assert verdict_of(replace(FACTS, relay_free_us=later))[1] is Reason.RELAY_DOWN
    assert verdict_of(replace(FACTS, relay_free_us=NOON_US))[0] is Decision.PASS


@pytest.mark.parametrize(
    "name", ["", "Europe", "../etc/passwd", "/etc/passwd", "UTC\x00", "x" * 100, "Europe/Atlantis"]
)
def test_unknown_zone(name: str) -> None:
    assert find_zone(name) is None
    assert choose_zone((name, 5, None), "Europe/Vienna").key == "Europe/Vienna"


ZONES = st.sampled_from(
    ["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
).map(ZoneInfo)
CLOCKS = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
#: Nights with clock changes, and others.
MOMENTS = st.sampled_from(
    ["2026-03-29", "2026-10-25", "2026-03-08", "2026-11-01", "2026-04-05", "2026-07-01"]
).flatmap(
    lambda day: st.integers(-48 * 60, 48 * 60).map(
        lambda minutes: us(f"{day}T00:00:00+00:00") + minutes * 60_000_000
    )
)


@given(
    now_us=MOMENTS,
    zone=ZONES,
    quiet=st.builds(QuietHours, start=CLOCKS, end=CLOCKS) | st.none(),
    windows=st.lists(
        st.builds(
            SendWindow,
            weekdays=st.frozensets(st.integers(0, 6), min_size=1),
            start=CLOCKS,
            end=CLOCKS,
        ),
        max_size=2,
    ).map(tuple),
)
def test_first_allowed_moment_is_allowed_and_the_first(
    now_us: int, zone: ZoneInfo, quiet: QuietHours | None, windows: tuple[SendWindow, ...]
) -> None:
    def allowed(at_us: int) -> bool:
        return (quiet is None or not is_quiet(at_us, zone, quiet)) and (
            not windows or in_window(at_us, zone, windows)
        )

    found = first_allowed_us(now_us, zone, quiet, windows)
    step_us = 15 * 60_000_000
    if found is not None:
        assert found >= now_us
        assert allowed(found)
    # A clock change may cost its own length, never more.
    last_us = now_us + 7 * 24 * HOUR_US if found is None else found - HOUR_US
    for at_us in range(now_us, last_us, step_us):
        assert not allowed(at_us), datetime.fromtimestamp(at_us / 1e6, UTC)


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (parse_sending_paused, "some", "must be none, all"),
        (parse_sending_paused, ["x"], "must be a domain"),
        (parse_frequency_caps, [{"channel": "sms"}], "frequency_caps[0].max is required"),
        (parse_frequency_caps, [{"channel": "mail", "max": 0, "per_seconds": 1}], "whole number"),
        (parse_frequency_caps, [{}] * 11, "at most 10"),
        (parse_quiet_hours, {"start": "25:00", "end": "08:00"}, "time of day"),
        (parse_quiet_hours, {"start": "08:00", "end": "08:00"}, "must differ"),
        (parse_quiet_hours, {"start": "1:00", "end": "x", "timezone": "Mars"}, "IANA"),
        (parse_send_windows, [{"weekdays": ["monday"], "start": "09:00", "end": "10:00"}], "mon"),
        (parse_send_windows, [{"weekdays": [], "start": "09:00", "end": "08:00"}], "after start"),
    ],
)
def test_wrong_policies(parse: Any, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"must|required") as caught:
        parse(value)
    assert message in str(caught.value)


def test_numbers_of_parsed_json_are_taken() -> None:
    (cap,) = parse_frequency_caps(
        [{"channel": "mail", "max": Number("3"), "per_seconds": Number("60")}]
    )
    assert (cap.max, cap.per_seconds) == (3, 60)
