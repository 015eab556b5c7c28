"""Every outcome of a delivery is counted once, for the project and for the subscriber."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from headrace.domain.upkeep.rollups import DAY_S, Outcome
from headrace.store.contract.deliveries import (
    DISABLED_WAIT_US,
    LOSSES_MAX,
    Subscriber,
    WebhookChange,
)
from headrace.store.contract.processing import LEASE_US
from tests.support.deliveries import ACTOR, Queue, failure
from tests.support.session import StoreSession

STEPS = 40
LAST_DAY = 2**31 - 1
_ENDED = "SELECT subscriber_id, count(*) FROM deliveries WHERE state = ? GROUP BY 1"
_DEAD = "SELECT subscriber_id, count(*) FROM dead_letters GROUP BY 1"
_FAILED = (
    "SELECT d.subscriber_id, count(*) FROM delivery_attempts AS a "
    "JOIN deliveries AS d ON d.number = a.delivery_number "
    "WHERE a.cause NOT IN ('worker_lost', 'crash_loop') GROUP BY 1"
)


class History:
    """Webhooks of one project and what happens to their deliveries."""

    def __init__(self, session: StoreSession, seed: int) -> None:
        self.rng = random.Random(seed)
        self.queue = Queue(session)
        self.session = session
        self.project_id = self.queue.project()
        self.webhooks = [self.queue.webhook(self.project_id) for _ in range(4)]
        self.steps: list[Callable[[Subscriber], None]] = [
            self.deliver,
            self.deliver,
            self.attempt,
            self.attempt,
            self.lose,
            self.wait_disabled,
            self.delete,
            self.replay,
        ]

    def step(self) -> None:
        self.rng.choice(self.steps)(self.rng.choice(self.webhooks))

    def deliver(self, webhook: Subscriber) -> None:
        self.queue.deliver(webhook.id, self.project_id, self.rng.randrange(1, 4), people=3)

    def attempt(self, webhook: Subscriber) -> None:
        for claimed in self.queue.claim("w", webhook.id, self.project_id):
            ends = self.rng.choice([None, failure(0), failure(None)])
            self.queue.record("w", claimed, ends)

    def lose(self, webhook: Subscriber) -> None:
        """Workers crash over it until it is dead-lettered."""
        for _ in range(LOSSES_MAX):
            self.queue.claim("w", webhook.id, self.project_id, 1)
            self.queue.clock.now_us += LEASE_US
            self.queue.rescue()

    def wait_disabled(self, webhook: Subscriber) -> None:
        self.enable(webhook, enabled=False)
        self.queue.clock.now_us += DISABLED_WAIT_US
        self.expire_unroutable()
        self.enable(webhook, enabled=True)

    def enable(self, webhook: Subscriber, *, enabled: bool) -> None:
        change = WebhookChange(enabled=enabled)
        self.session.run(
            self.queue.subscribers.update(self.project_id, webhook.id, change, actor=ACTOR)
        )

    def delete(self, webhook: Subscriber) -> None:
        self.session.run(self.queue.subscribers.delete(self.project_id, webhook.id, actor=ACTOR))
        self.webhooks.remove(webhook)
        self.webhooks.append(self.queue.webhook(self.project_id))
        self.expire_unroutable()

    def expire_unroutable(self) -> None:
        while self.session.run(self.queue.store.expire_unroutable(2)):
            pass

    def replay(self, _: Subscriber) -> None:
        rows = self.session.place.run_sql("SELECT id FROM dead_letters WHERE state = 0")
        if rows:
            letters, letter = self.session.store.dead_letters, self.rng.choice(sorted(rows))[0]
            self.session.run(
                letters.replay(self.project_id, letter, self.queue.clock(), actor=ACTOR)
            )

    def rows(self, sql: str, *values: object) -> Counter[str]:
        return Counter(
            {str(name): count for name, count in self.session.place.run_sql(sql, *values)}
        )

    def counted(self, outcome: Outcome) -> Counter[str]:
        """By subscriber; the project itself under the empty name."""
        store = self.session.store.rollups
        of_project = self.session.run(store.read(self.project_id, DAY_S, 0, LAST_DAY))
        of_subscribers = self.session.run(store.subscribers(self.project_id, DAY_S, 0, LAST_DAY))
        counts: Counter[str] = Counter()
        for row in (*of_project, *of_subscribers):
            counts[row.subject] += row.tally.count(outcome)
        return +counts


@pytest.mark.parametrize("seed", range(3))
def test_counters_equal_the_rows_after_any_history(session: StoreSession, seed: int) -> None:
    history = History(session, seed)
    for _ in range(STEPS):
        history.step()
    # Each way to a dead letter, for any seed.
    for step in (history.lose, history.wait_disabled, history.delete):
        webhook = history.webhooks[0]
        history.deliver(webhook)
        step(webhook)
    for outcome, rows in (
        (Outcome.DELIVERY_DEAD_LETTERED, history.rows(_DEAD)),
        (Outcome.DELIVERED, history.rows(_ENDED, 3)),
        (Outcome.ATTEMPT_FAILED, history.rows(_FAILED)),
    ):
        expected = rows + Counter({"": rows.total()})
        assert history.counted(outcome) == expected, outcome
