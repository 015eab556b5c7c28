"""Counters and percentiles."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from headrace.domain.upkeep.rollups import (
    BOUNDS_US,
    BUCKETS,
    Outcome,
    Tally,
    added,
    bucket_of,
    percentile_us,
)

ARRAYS = st.none() | st.lists(st.integers(0, 2**40), max_size=6)


@given(ARRAYS, ARRAYS)
def test_arrays_are_added_whatever_their_lengths(
    one: list[int] | None, other: list[int] | None
) -> None:
    total = added(one, other)
    assert total == added(other, one)
    assert sum(total or ()) == sum(one or ()) + sum(other or ())
    assert (total is None) == (one is None and other is None)


@given(st.integers(0, 10**13))
def test_every_span_has_a_bucket(span_us: int) -> None:
    bucket = bucket_of(span_us)
    assert 0 <= bucket < BUCKETS
    assert bucket == BUCKETS - 1 or span_us <= BOUNDS_US[bucket]
    assert bucket == 0 or span_us > BOUNDS_US[bucket - 1]


def test_percentiles_are_near_the_true_ones() -> None:
    rng = random.Random(7)
    spans = sorted(round(rng.lognormvariate(10, 1)) for _ in range(5000))
    tally = Tally()
    for span_us in spans:
        tally.observe_processing(span_us)
    for share in (0.5, 0.95, 0.99):
        found = percentile_us(tally.processing, share)
        true = spans[int(share * len(spans)) - 1]
        assert found is not None
        assert 0.6 < found / true < 1.7


def test_no_measurements_have_no_percentile() -> None:
    assert percentile_us(None, 0.5) is None
    assert percentile_us([0] * BUCKETS, 0.5) is None


@given(st.integers(0, 10**13), st.floats(0.01, 1))
def test_one_measurement_is_every_percentile(span_us: int, share: float) -> None:
    tally = Tally()
    tally.observe_accept(span_us)
    found = percentile_us(tally.accept, share)
    assert found is not None
    assert 0 <= found <= BOUNDS_US[min(bucket_of(span_us), len(BOUNDS_US) - 1)]


def test_tallies_add_up() -> None:
    one, other = Tally(), Tally()
    one.counts[Outcome.ACCEPTED_API] = 2
    other.counts[Outcome.ACCEPTED_SYSTEM] = 3
    other.observe_delivery(5)
    one.add(other)
    assert one.accepted == 5
    assert one.count(Outcome.ACCEPTED_API, Outcome.REJECTED) == 2
    assert sum(one.delivery or ()) == 1
    assert other.accepted == 3
