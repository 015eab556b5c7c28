"""What processing and deliveries count, derived from what they commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from headrace.domain.events.event import Source
from headrace.domain.upkeep.rollups import GRAINS, Outcome, Tally
from headrace.store.contract.deliveries import AttemptRecord
from headrace.store.contract.processing import Claimed
from headrace.store.contract.rollups import Counted

_SYSTEM = Source.SYSTEM.value


def processed(batch: Sequence[Claimed], now_us: int) -> list[Counted]:
    """Events that are processed now. System events count as accepted, too."""
    tallies: dict[int, Tally] = {}
    for event in batch:
        tally = tallies.get(event.project_id)
        if tally is None:
            tally = tallies[event.project_id] = Tally()
        tally.counts[Outcome.PROCESSED] += 1
        if event.source == _SYSTEM:
            tally.counts[Outcome.ACCEPTED_SYSTEM] += 1
        tally.observe_processing(now_us - event.received_us)
    return [Counted(project_id, "", now_us, tally) for project_id, tally in tallies.items()]


def happened(project_id: int, outcome: Outcome, now_us: int, *, subject: str = "") -> Counted:
    """One thing that happened."""
    tally = Tally()
    tally.counts[outcome] = 1
    return Counted(project_id, subject, now_us, tally)


def dead_lettered(subscribers: Iterable[tuple[int, str]], now_us: int) -> list[Counted]:
    """Deliveries that became dead letters without an attempt, by project and subscriber."""
    tallies: dict[tuple[int, str], Tally] = {}
    for project_id, subscriber_id in subscribers:
        for subject in ("", subscriber_id):
            tally = tallies.setdefault((project_id, subject), Tally())
            tally.counts[Outcome.DELIVERY_DEAD_LETTERED] += 1
    return [Counted(*key, now_us, tally) for key, tally in tallies.items()]


def failed(project_id: int, now_us: int, *, retries: bool) -> Counted:
    """An event whose processing failed."""
    outcome = Outcome.RETRIED if retries else Outcome.DEAD_LETTERED
    return happened(project_id, outcome, now_us)


def attempted(records: Iterable[AttemptRecord], now_us: int) -> list[Counted]:
    """Ended attempts of deliveries, for the project and for each subscriber."""
    tallies: dict[tuple[int, str], Tally] = {}
    for record in records:
        claimed, failure = record.claimed, record.failure
        for subject in ("", claimed.subscriber_id):
            tally = tallies.setdefault((claimed.project_id, subject), Tally())
            tally.observe_delivery(record.duration_us)
            if failure is None:
                tally.counts[Outcome.DELIVERED] += 1
                continue
            tally.counts[Outcome.ATTEMPT_FAILED] += 1
            if failure.retry_in_us is None:
                tally.counts[Outcome.DELIVERY_DEAD_LETTERED] += 1
    return [
        Counted(project_id, subject, now_us, tally)
        for (project_id, subject), tally in tallies.items()
    ]


def by_grain(counted: Iterable[Counted]) -> dict[tuple[int, int, int, str], Tally]:
    """Sums of the rows of minute, hour and day: (project, grain, at, subject) -> what to add."""
    sums: dict[tuple[int, int, int, str], Tally] = {}
    for one in counted:
        second = one.at_us // 1_000_000
        for grain in GRAINS:
            key = one.project_id, grain, second // grain, one.subject
            if key in sums:
                sums[key].add(one.tally)
            else:
                sums[key] = msgspec.structs.replace(one.tally)
    return sums
