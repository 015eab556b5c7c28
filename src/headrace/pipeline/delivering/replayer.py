"""The loop that runs replays of many dead letters, each at its own rate."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from headrace.domain.deliveries.dead_letters import PER_SECOND_MAX
from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.token_bucket import ForwardTime, TokenBucket
from headrace.store.contract.dead_letters import Replay
from headrace.store.contract.processing import ProcessingStore
from headrace.store.deliveries.replays import Replays

#: One worker at a time replays, else each would add its own rate.
LEADERSHIP = "replays"
LEADERSHIP_SECONDS = 15.0
#: Between two slices of a replay.
SLICE_SECONDS = 0.1
#: Dead letters of one transaction: enough for the highest rate, a few milliseconds of write lock.
SLICE_MAX = PER_SECOND_MAX // 10
#: Seconds between two polls while there is nothing to do.
IDLE_SECONDS = 0.5
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 2.0
ERROR_SECONDS = 1.0
#: Replays in progress at once, over all projects.
REPLAYS_MAX = 100


class ReplayReport(msgspec.Struct, frozen=True):
    """What one round did."""

    #: Replays still running.
    running: int
    #: Dead letters replayed.
    replayed: int


class Replayer:
    """Gives every running replay a slice in turn.

    Args:
        leadership_store: decides which worker leads.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
    """

    def __init__(
        self,
        replays: Replays,
        leadership_store: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
    ) -> None:
        self._replays = replays
        self._leadership = Leadership(
            leadership_store.acquire_leadership,
            LEADERSHIP,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._clock_us = clock_us
        self._time = ForwardTime()
        self._buckets: dict[str, TokenBucket] = {}

    async def run(self) -> None:
        """Replay until cancelled."""
        options = LoopOptions(
            name="replayer",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return SLICE_SECONDS if (await self.run_once()).running else None

    async def run_once(self) -> ReplayReport:
        """One slice of every running replay.

        Raises:
            StoreError: the store is unavailable; what was replayed is counted.
        """
        running = await self._replays.running(REPLAYS_MAX)
        self._buckets = {r.id: self._buckets[r.id] for r in running if r.id in self._buckets}
        if not running or not await self._leadership.is_held():
            return ReplayReport(0, 0)
        unfinished, replayed = 0, 0
        for replay in running:
            count, has_more = await self._advance(replay)
            replayed += count
            unfinished += has_more
        return ReplayReport(unfinished, replayed)

    async def _advance(self, replay: Replay) -> tuple[int, bool]:
        now_us = self._clock_us()
        # It starts with one token and holds no more than a slice.
        bucket = self._buckets.setdefault(
            replay.id, TokenBucket(replay.per_second, burst=SLICE_MAX, level=1)
        )
        allowance = bucket.available(self._time.at(now_us))
        if allowance < 1:
            return 0, True
        count, has_more = await self._replays.advance(replay.id, allowance, now_us)
        bucket.spend(count)
        return count, has_more
