"""Events of one identity are processed in order of receipt, whatever happens to their commits.

Each test runs a random history through the real commit queue, store and event queue, and compares
the order of processing with the order of receipt.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.domain.events.event import NewEvent
from headrace.pipeline.intake import commit_queue
from headrace.store.contract.processing import Claimed, ProcessingFailure
from headrace.store.postgres import PostgresStore
from headrace.store.queues.postgres import committer
from tests.support.places import Place
from tests.support.queue import LEADERSHIP_US, mark_only, sequences
from tests.support.receiver import Outcome, Receiver, receiving

SEEDS = range(3)
SENDERS = 3
REQUESTS_OF_SENDER = 4
REQUEST_EVENTS_MAX = 120
#: So that one request needs several commits.
COMMIT_EVENTS_MAX = 24
LARGE_BYTES = 40_000
#: Events that are answered between two terminations of the committing sessions.
DISTURBED_EVENTS = 150
WORKER = "a"
SECONDS_MAX = 60.0


class History:
    """Senders and a worker of one run, and the checks at its end."""

    def __init__(self, place: Place, receiver: Receiver, seed: int) -> None:
        self.place = place
        self.receiver = receiver
        self.rng = random.Random(seed)
        #: Identity -> sequences in order of receipt.
        self.received: dict[str, list[int]] = defaultdict(list)
        self.outcomes: dict[int, Outcome] = {}
        self.processed: list[int] = []
        #: Later events may overtake one that waits for a retry.
        self.retried: set[int] = set()
        self.sending = SENDERS
        self.disturbed = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.timeout(SECONDS_MAX), asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(self._send())
            tasks.create_task(self._work())
            if isinstance(self.receiver.store, PostgresStore):
                tasks.create_task(self._disturb())

    async def _send(self) -> None:
        """Send requests in sequence, each after the response to the one before."""
        for _ in range(REQUESTS_OF_SENDER):
            sent = []
            for event in self._request():
                self.received[event.external_id or ""].append(event.sequence)
                sent.append((event.sequence, self.receiver.send(event)))
            for sequence, outcome in sent:
                self.outcomes[sequence] = await outcome
                if len(self.outcomes) % DISTURBED_EVENTS == 0:
                    self.disturbed.set()
        self.sending -= 1
        self.disturbed.set()

    def _request(self) -> list[NewEvent]:
        """Large payloads first, so that the first commits of a request are the slow ones."""
        count = self.rng.randint(1, REQUEST_EVENTS_MAX)
        large = self.rng.randint(0, count)
        only = self._identity() if self.rng.random() < 0.5 else None
        return [self._event(only or self._identity(), large=n < large) for n in range(count)]

    def _identity(self) -> str:
        return f"customer-{self.rng.randint(1, 5)}"

    def _event(self, identity: str, *, large: bool) -> NewEvent:
        changes: dict[str, Any] = {}
        if large:
            changes["payload"] = f'{{"text":"{"x" * LARGE_BYTES}"}}'
        if self.rng.random() < 0.3:
            changes["key"] = f"k{self.rng.randint(1, 200)}"
        if self.rng.random() < 0.01:
            # A row that every store rejects.
            changes["occurred_us"] = None
        return self.receiver.event(identity, **changes)

    async def _work(self) -> None:
        """Claim and process until everything is answered and processed."""
        processing = self.receiver.store.processing
        hands: Sequence[Claimed] = ()
        while hands or self.sending or not self._all_done():
            assert (
                await processing.acquire_leadership("processing", WORKER, LEADERSHIP_US) is not None
            )
            hands = hands or await processing.claim(WORKER, self.rng.randint(1, 40))
            hands = [claimed for claimed in hands if not await self._fails(claimed)]
            if hands:
                done, following = await processing.process(
                    WORKER, hands, mark_only, self.rng.randint(0, 40), subscribers_version=0
                )
                assert done == len(hands)
                self.processed += sequences(hands)
                hands = following
            # Lets the senders run, whichever store it is.
            await asyncio.sleep(0)

    async def _fails(self, claimed: Claimed) -> bool:
        if self.rng.random() > 0.005:
            return False
        store = self.receiver.store
        self.retried.add(claimed.sequence)
        failure = ProcessingFailure("ValueError", "try again", 0, store.clock_us())
        assert await store.processing.fail(WORKER, claimed, failure)
        return True

    def _all_done(self) -> bool:
        done = {*self.processed}
        return all(s in done for s, outcome in self.outcomes.items() if outcome is None)

    async def _disturb(self) -> None:
        """Repeatedly terminate the committing sessions."""
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database() "
            r"AND query ~ '^\s*(WITH batch|INSERT INTO (events|recent_keys)) '"
        )
        while self.sending:
            await asyncio.to_thread(self.place.run_sql, sql)
            await self.disturbed.wait()
            self.disturbed.clear()

    def check(self) -> None:
        """Compare with what was received."""
        accepted = {s for s, outcome in self.outcomes.items() if outcome is None}
        assert accepted
        assert accepted <= {*self.processed}
        assert len(self.processed) == len({*self.processed})
        for identity, received in self.received.items():
            expected = [s for s in received if s in accepted and s not in self.retried]
            compared = {*expected}
            assert [s for s in self.processed if s in compared] == expected, identity


@pytest.mark.parametrize("seed", SEEDS)
def test_each_identity_is_processed_in_order_of_receipt(
    place: Place, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit_queue, "COMMIT_EVENTS_MAX", COMMIT_EVENTS_MAX)
    # Nothing is rejected only because a session ended shortly before.
    monkeypatch.setattr(committer, "RECONNECT_SECONDS", 0.0)

    async def run() -> None:
        async with receiving(place) as receiver:
            history = History(place, receiver, seed)
            await history.run()
            history.check()

    asyncio.run(run())
