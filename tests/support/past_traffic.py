"""Counters of a busy month, in the form that processing writes."""

from __future__ import annotations

import math
import random

from headrace.domain.upkeep.rollups import BUCKETS, Outcome, Tally, bucket_of
from headrace.store.contract.rollups import Counted
from headrace.store.store import Store

#: The last part by minute; before it, by hour.
MINUTES = 26 * 60
HOURS = 30 * 24


async def past_traffic(store: Store, project_id: int, now_us: int, subject: str = "") -> None:
    """Fill the rollups of a project with a month that ends now."""
    rng = random.Random(project_id)
    now_s = now_us // 1_000_000
    hours = [(now_s - hour * 3600, 60) for hour in range(HOURS, MINUTES // 60, -1)]
    minutes = [(now_s - minute * 60, 1) for minute in range(MINUTES, -1, -1)]
    additions = [
        Counted(
            project_id, subject, second * 1_000_000, _tally(second, times, rng, alone=not subject)
        )
        for second, times in (*hours, *minutes)
    ]
    for start in range(0, len(additions), 300):
        await store.rollups.add(additions[start : start + 300])


def _tally(second: int, times: int, rng: random.Random, *, alone: bool) -> Tally:
    wave = 1.2 + math.sin(second / 86_400 * 2 * math.pi) + 0.4 * math.sin(second / 700)
    events = max(0, int(180 * wave + rng.gauss(0, 20))) * times
    tally = Tally()
    if alone:
        tally.counts[Outcome.ACCEPTED_API] = events
        tally.counts[Outcome.DEDUPLICATED] = events // 40
        tally.counts[Outcome.REJECTED] = rng.choice((0, 0, 1, 6))
        tally.counts[Outcome.PROCESSED] = events
        tally.counts[Outcome.RETRIED] = rng.choice((0, 0, 0, 4))
        tally.counts[Outcome.DEAD_LETTERED] = rng.choice((0,) * 20 + (2,))
    failed = rng.choice((0, 0, events // 10))
    tally.counts[Outcome.DELIVERED] = events - failed
    tally.counts[Outcome.ATTEMPT_FAILED] = failed
    for name, middle_us in (("accept", 2_500), ("processing", 35_000), ("delivery", 120_000)):
        if events and (alone or name == "delivery"):
            setattr(tally, name, _histogram(events, middle_us, rng))
    return tally


def _histogram(events: int, middle_us: float, rng: random.Random) -> list[int]:
    found = [0] * BUCKETS
    shift = rng.gauss(0, 0.2)
    for _ in range(min(events, 60)):
        found[bucket_of(round(middle_us * math.exp(rng.gauss(shift, 0.7))))] += 1
    return found
