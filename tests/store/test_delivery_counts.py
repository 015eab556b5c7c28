"""Delivery statistics: counted by workers, summed by the store in one row."""

from __future__ import annotations

import asyncio

from headrace.store.contract.delivery_counts import SECONDS_BOUNDS, AttemptCounts
from headrace.store.deliveries.delivery_counts import NAME, text_with
from tests.support.deliveries import Queue, failure
from tests.support.session import StoreSession


def counted(*attempts: tuple[str, float]) -> AttemptCounts:
    counts = AttemptCounts()
    for outcome, seconds in attempts:
        counts.observe(outcome, seconds)
    return counts


def kept(session: StoreSession) -> AttemptCounts:
    return session.run(session.store.delivery_counts.numbers()).attempts


def test_counts_start_empty(session: StoreSession) -> None:
    assert kept(session) == AttemptCounts()


def test_counts_of_workers_are_summed_and_outlive_them(session: StoreSession) -> None:
    store = session.store.delivery_counts

    async def add_all() -> None:
        adds = [store.add_counts(counted(("delivered", 0.5), ("gone", 100.0))) for _ in range(5)]
        await asyncio.gather(*adds)

    session.run(add_all())
    session.close()
    again = StoreSession(session.place)
    found = kept(again)
    again.close()
    assert found.outcomes == {"delivered": 5, "gone": 5}
    assert found.buckets[SECONDS_BOUNDS.index(0.5)] == 5
    assert (found.buckets[-1], sum(found.buckets)) == (5, 10)
    assert found.seconds_sum == 502.5


def test_unknown_text_counts_as_zero(session: StoreSession) -> None:
    session.run(session.store.delivery_counts.add_counts(counted(("delivered", 1.0))))
    session.place.run_sql("UPDATE meta SET value = '[]' WHERE name = ?", NAME)
    assert kept(session) == AttemptCounts()
    session.run(session.store.delivery_counts.add_counts(counted(("delivered", 1.0))))
    assert kept(session).outcomes == {"delivered": 1}


def test_other_bounds_start_from_zero() -> None:
    before = text_with(None, counted(("delivered", 1.0)))
    more = AttemptCounts(outcomes={"delivered": 1}, buckets=[1, 2], seconds_sum=3.0)
    assert text_with(before, more) == (
        '{"outcomes":{"delivered":2},"buckets":[1,2],"seconds_sum":3.0}'
    )


def test_claimed_deliveries_and_breakers_with_failures(session: StoreSession) -> None:
    queue = Queue(session)
    webhook = queue.webhook(queue.project())
    queue.deliver(webhook.id, webhook.project_id, 5)
    first, *_ = queue.claim("w", webhook.id, webhook.project_id, 3)
    numbers = session.run(session.store.delivery_counts.numbers())
    assert (numbers.claimed, numbers.breakers) == (3, [])
    queue.record("w", first, failure(5))
    session.place.run_sql("UPDATE subscribers SET breaker = ? WHERE id = ?", "{}", webhook.id)
    numbers = session.run(session.store.delivery_counts.numbers())
    assert (numbers.claimed, numbers.breakers) == (2, ["{}"])
