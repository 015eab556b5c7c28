"""Alerts: each has one start and one end, whatever the readings and restarts are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.upkeep.alerts import (
    RULES,
    AlertKind,
    AlertState,
    Current,
    Edge,
    Level,
    Rule,
    step,
)

SECOND_US = 1_000_000
RULE = Rule(title="x", fix="y", start_s=60, end_s=120, bad_from=10, good_to=5)
READINGS = st.lists(
    st.tuples(st.integers(0, 100), st.sampled_from(tuple(Level))), min_size=1, max_size=60
)


def edges(readings: list[tuple[int, Level]], rule: Rule) -> list[tuple[int, Edge]]:
    """Times and edges of readings, given as seconds after the one before."""
    current: Current | None = None
    now_us, found = 0, []
    for seconds, level in readings:
        now_us += seconds * SECOND_US
        before = current
        current, edge = step(current, level, now_us, rule)
        if edge is not None:
            found.append((now_us, edge))
        opened = current is not None and current.state is AlertState.OPEN
        was_open = before is not None and before.state is AlertState.OPEN
        # Open and closed follow from the edges alone: a state that is stored repeats none.
        assert opened == (edge is Edge.STARTED or (was_open and edge is None))
    return found


@given(READINGS, st.integers(0, 100), st.integers(0, 100))
def test_starts_and_ends_take_turns(
    readings: list[tuple[int, Level]], start_s: int, end_s: int
) -> None:
    rule = Rule(title="x", fix="y", start_s=start_s, end_s=end_s)
    found = [edge for _, edge in edges(readings, rule)]
    assert found == [Edge.STARTED, Edge.ENDED] * (len(found) // 2) + found[len(found) // 2 * 2 :]
    assert found[:1] in ([], [Edge.STARTED])


@given(READINGS)
def test_an_alert_lasts_at_least_as_long_as_its_end_needs(
    readings: list[tuple[int, Level]],
) -> None:
    found = edges(readings, RULE)
    for (started_us, _), (ended_us, _) in zip(found[::2], found[1::2], strict=False):
        assert ended_us - started_us >= RULE.end_s * SECOND_US


@given(st.lists(st.floats(5.01, 9.99), max_size=50), st.booleans())
def test_values_between_the_limits_change_nothing(values: list[float], is_open: bool) -> None:
    current = Current(state=AlertState.OPEN, since_us=None) if is_open else None
    for number, value in enumerate(values):
        assert step(current, RULE.level(value), number * SECOND_US, RULE) == (current, None)


@given(st.lists(st.booleans(), max_size=50))
def test_a_value_around_a_limit_starts_one_alert(above: list[bool]) -> None:
    """Each reading is 10 seconds after the one before, at 10 or a little below."""
    levels = [RULE.level(10.1 if one else 9.9) for one in above]
    assert len(edges([(10, level) for level in levels], RULE)) <= 1


def test_a_short_outage_starts_no_alert() -> None:
    readings = [(0, Level.BAD), (59, Level.BAD), (0, Level.GOOD), (0, Level.BAD), (59, Level.BAD)]
    assert edges(readings, RULE) == []


def test_a_clock_that_is_set_back_does_not_hold_up_a_start() -> None:
    current, _ = step(None, Level.BAD, 1_000 * SECOND_US, RULE)
    current, _ = step(current, Level.BAD, 10 * SECOND_US, RULE)
    _, edge = step(current, Level.BAD, 70 * SECOND_US, RULE)
    assert edge is Edge.STARTED


@pytest.mark.parametrize("kind", list(AlertKind))
def test_every_kind_has_limits_apart(kind: AlertKind) -> None:
    rule = RULES[kind]
    assert rule.bad_from != rule.good_to
    assert rule.level(rule.bad_from) is Level.BAD
    assert rule.level(rule.good_to) is Level.GOOD
    assert rule.title
    assert rule.fix.endswith(".")
