"""Identifiers, points in time and cursors."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain import timestamps
from headrace.domain.errors import ApiError
from headrace.domain.ids import (
    SYSTEM_COUNTER,
    WRITERS,
    EventIdGenerator,
    first_sequence_at,
    id_of_sequence,
    lane_of_id,
    new_uuid,
    sequence_of_id,
    uuid_text,
)
from headrace.http.routing.cursor import Cursors

SEQUENCES = st.integers(0, (1 << 63) - 1)
LANES = st.integers(0, 255)
TAILS = st.integers(0, (1 << 45) - 1)
#: 2026-06-08T14:15:00Z
NOW_US = 1_780_928_100_000_000


# --- ids ---


@given(SEQUENCES, LANES, TAILS)
def test_id_contains_its_sequence_and_lane(sequence: int, lane: int, tail: int) -> None:
    made = id_of_sequence(sequence, lane, tail)
    assert sequence_of_id(made) == sequence
    assert lane_of_id(made) == lane
    known = uuid.UUID(bytes=made)
    assert known.version == 7
    assert known.variant == uuid.RFC_4122
    assert uuid_text(made) == str(known)


@given(SEQUENCES, SEQUENCES, LANES, LANES, TAILS, TAILS)
def test_ids_are_ordered_as_their_sequences(
    one: int, other: int, lane: int, other_lane: int, tail: int, other_tail: int
) -> None:
    first, second = id_of_sequence(one, lane, tail), id_of_sequence(other, other_lane, other_tail)
    if one != other:
        assert (first < second) == (one < other)


@given(st.binary(min_size=16, max_size=16))
def test_any_sixteen_bytes_have_some_sequence(value: bytes) -> None:
    assert 0 <= sequence_of_id(value) < 1 << 63


@settings(max_examples=200)
@given(
    st.lists(st.integers(-10_000_000, 10_000_000), min_size=1, max_size=60),
    st.integers(0, 1 << 62),
)
def test_ids_increase_whatever_the_clock_does(steps: list[int], after: int) -> None:
    now_us = NOW_US
    generator = EventIdGenerator(lambda: now_us, after=after, rng=random.Random(1))
    last, last_id = after, b""
    for step in steps:
        now_us = max(0, now_us + step)
        sequence, made = generator.next(step % 256)
        assert last < sequence < 1 << 63
        assert made > last_id
        assert sequence_of_id(made) == sequence
        last, last_id = sequence, made


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-3_000_000, 3_000_000)), min_size=1, max_size=80
    ),
    st.integers(0, 1 << 62),
)
def test_ids_of_several_writers_never_collide(turns: list[tuple[int, int]], after: int) -> None:
    """Two processes with two generators each, with any clock and in any order."""
    now_us = NOW_US
    generators = [
        EventIdGenerator(lambda: now_us, after=after, writer=writer, system=system)
        for writer in (5, WRITERS - 1)
        for system in (False, True)
    ]
    given_to: list[list[int]] = [[] for _ in generators]
    for turn, step in turns:
        now_us = max(0, now_us + step)
        sequence, made = generators[turn].next(step % 256)
        assert after < sequence < 1 << 63
        assert sequence_of_id(made) == sequence
        assert sequence % WRITERS == (5, WRITERS - 1)[turn // 2]
        assert bool(sequence & SYSTEM_COUNTER) == bool(turn % 2)
        given_to[turn].append(sequence)
    assert all(each == sorted(each) for each in given_to)
    everything = [sequence for each in given_to for sequence in each]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("system", [False, True])
def test_writer_continues_in_the_next_millisecond_when_its_numbers_are_used_up(
    system: bool,
) -> None:
    generator = EventIdGenerator(lambda: NOW_US, writer=3, system=system)
    found = [generator.next(0)[0] for _ in range(5000)]
    milliseconds = [sequence >> 21 for sequence in found]
    assert milliseconds[0] == NOW_US // 1000
    assert milliseconds[-1] == milliseconds[0] + 2
    assert found == sorted(set(found))


def test_id_contains_the_time_of_receipt() -> None:
    generator = EventIdGenerator(lambda: NOW_US, rng=random.Random(1))
    sequence, made = generator.next(7)
    assert int.from_bytes(made[:6], "big") == NOW_US // 1000
    assert sequence >= first_sequence_at(NOW_US)
    assert sequence < first_sequence_at(NOW_US + 1000)


def test_more_ids_than_one_millisecond_holds() -> None:
    """Then the next millisecond is begun early; the numbers of system events are not used."""
    first = NOW_US // 1000 << 21
    generator = EventIdGenerator(lambda: NOW_US, after=first + SYSTEM_COUNTER - 3)
    found = [generator.next(0)[0] for _ in range(4)]
    second = first + (1 << 21)
    assert found == [first + SYSTEM_COUNTER - 2, first + SYSTEM_COUNTER - 1, second, second + 1]


@given(st.integers(0, 1 << 62))
def test_no_id_takes_the_number_of_a_system_event(after: int) -> None:
    generator = EventIdGenerator(lambda: NOW_US, after=after)
    assert not generator.next(0)[0] & SYSTEM_COUNTER


@given(st.integers(-(1 << 62), 1 << 62))
def test_bounds_by_time_stay_inside_63_bits(at_us: int) -> None:
    assert 0 <= first_sequence_at(at_us) < 1 << 63


def test_a_random_uuid_is_version_4() -> None:
    assert uuid.UUID(bytes=new_uuid()).version == 4


# --- times ---

MOMENTS = st.integers(timestamps.EARLIEST_US, timestamps.LATEST_US)


@given(MOMENTS)
def test_a_moment_is_written_to_the_millisecond_and_read_back(at_us: int) -> None:
    text = timestamps.to_text(at_us)
    assert len(text) == 24
    assert timestamps.parse(text) == at_us // 1000 * 1000


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),  # noqa: DTZ001 - the zone comes next
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
)
def test_any_offset_is_read_as_by_the_library(naive: datetime, offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    moment = naive.replace(tzinfo=zone)
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert timestamps.parse(moment.isoformat()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-06-08",
        "2026-06-08T14:15:00",
        "2026-06-08 14:15:00Z",
        "2026-06-08T24:00:00Z",
        "2026-06-08T23:59:60Z",
        "2026-06-08T14:60:00Z",
        "2026-06-30T14:59:60Z",
        "2026-06-30T23:59:61Z",
        "2026-06-30T23:59:60+01:00",
        "9999-12-31T23:59:60Z",
        "2026-W23-1T14:15:00.123Z",
        "2026-W23-1T24:15:00.123Z",
        "2026-06-08T24:00:00.000Z",
        "2026-06-08T14-15:00.000Z",
        "2026-159T014:15:00.1234Z",
        "2026-02-30T00:00:00Z",
        "2025-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-00-01T00:00:00Z",
        "2026-06-08T14:15:00+24:00",
        "2026-06-08T14:15:00+02:60",
        "2026-06-08T14:15:00+0200",
        "2026-06-08T14:15:00+02",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-06-08T14:15:00.Z",
        "2026-06-08T14:15:00,5Z",
        "2026-06-08T14:15Z",
        "1780928100",
        "٢٠٢٦-06-08T14:15:00Z",
        "2026-06-08T14:15:00Z\n",
        " 2026-06-08T14:15:00Z",
        "+2026-06-08T14:15:00Z",
        "2026-06-08T14:15:00Z; DROP TABLE events",
        "2026-W23-1T00:00:00Z",
    ],
)
def test_invalid_rfc_3339_is_rejected_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|is|has) "):
        timestamps.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-06-08t14:15:00z", "2026-06-08T14:15:00.000Z"),
        ("2026-06-08T14:15:00.123456789Z", "2026-06-08T14:15:00.123Z"),
        ("2026-06-08T14:15:00.9999999999999Z", "2026-06-08T14:15:00.999Z"),
        ("2026-06-08T14:15:00-00:00", "2026-06-08T14:15:00.000Z"),
        ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_moments_are_shown_in_one_form(text: str, shown: str) -> None:
    assert timestamps.to_text(timestamps.parse(text)) == shown


# --- cursors ---

POSITIONS = st.integers(0, (1 << 64) - 1)
CURSORS = Cursors(b"s" * 32)


@given(POSITIONS, st.text(max_size=20))
def test_cursor_round_trips_its_position(position: int, scope: str) -> None:
    assert CURSORS.read(CURSORS.make(position, scope), scope) == position


@given(POSITIONS, st.text(max_size=20), st.text(max_size=20))
def test_cursor_of_another_list_is_rejected(position: int, scope: str, other: str) -> None:
    text = CURSORS.make(position, scope)
    if scope != other:
        with pytest.raises(ApiError):
            CURSORS.read(text, other)
    with pytest.raises(ApiError):
        Cursors(b"t" * 32).read(text, scope)


@settings(max_examples=300)
@given(POSITIONS, st.data())
def test_changed_cursor_is_rejected(position: int, data: st.DataObject) -> None:
    text = CURSORS.make(position, "events 1")
    at = data.draw(st.integers(0, len(text) - 1))
    put = data.draw(st.sampled_from(["", "A", "a", "-", "_", "=", "é", "\0", "AA", " "]))
    changed = text[:at] + put + text[at + 1 :]
    if changed != text:
        with pytest.raises(ApiError) as raised:
            CURSORS.read(changed, "events 1")
        assert raised.value.status == 422


@given(st.text(max_size=60))
def test_any_text_is_at_most_rejected(text: str) -> None:
    with pytest.raises(ApiError):
        CURSORS.read(text, "events 1")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        ("2016-12-31T23:59:60.999Z", "2017-01-01T00:00:00Z"),
        ("2015-06-30T23:59:60.000Z", "2015-07-01T00:00:00Z"),
        ("2017-01-01T00:59:60+01:00", "2017-01-01T00:00:00Z"),
        ("2016-12-31T15:59:60-08:00", "2017-01-01T00:00:00Z"),
        ("2015-07-01t05:29:60+05:30", "2015-07-01T00:00:00Z"),
    ],
)
def test_a_leap_second_is_the_start_of_the_next_second(text: str, same: str) -> None:
    assert timestamps.parse(text) == timestamps.parse(same)
