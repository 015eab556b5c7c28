"""The loop that makes the messages of sends to audiences, each at its own rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.pipeline.leadership import Leadership
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.token_bucket import ForwardTime, TokenBucket
from headrace.store.contract.processing import ProcessingStore
from headrace.store.messages.sending.jobs import SendJob

#: One worker at a time sends, else each would add its own rate.
LEADERSHIP = "audience_sends"
PUSH_LEADERSHIP = "push_audiences"
LEADERSHIP_SECONDS = 15.0
#: Between two slices of a job.
SLICE_SECONDS = 0.1
#: Contacts of one transaction.
SLICE_MAX = 100
#: A slow job waits for the allowance of so many seconds: messages that are made together share
#: their transactions, the sender's too. At 20 mails a second that halved the CPU time of each.
TOGETHER_SECONDS = 1.0
#: Rate of a job that names none.
PER_SECOND = 1000
#: Seconds between two polls while there is nothing to do.
IDLE_SECONDS = 0.5
#: The pause doubles up to this while there is nothing to do.
IDLE_SECONDS_MAX = 2.0
ERROR_SECONDS = 1.0
#: Jobs in progress at once, over all projects.
JOBS_MAX = 100


class MakesMessages(Protocol):
    """Jobs that make messages."""

    async def running(self, now_us: int, limit: int) -> Sequence[SendJob]: ...

    async def advance(self, job_id: str, limit: int, now_us: int) -> tuple[int, bool]: ...


class AudienceSends:
    """Gives every running job a slice in turn.

    Args:
        jobs: of mail or of push.
        leadership_store: decides which worker leads.
        owner: name of this process, see `headrace.process_names`.
        clock_us: microseconds since 1970.
        leadership: name of the role.
    """

    def __init__(
        self,
        jobs: MakesMessages,
        leadership_store: ProcessingStore,
        *,
        owner: str,
        clock_us: Callable[[], int],
        leadership: str = LEADERSHIP,
    ) -> None:
        self._jobs = jobs
        self._leadership = Leadership(
            leadership_store.acquire_leadership,
            leadership,
            owner=owner,
            lease_s=LEADERSHIP_SECONDS,
            clock_us=clock_us,
        )
        self._clock_us = clock_us
        self._time = ForwardTime()
        self._buckets: dict[str, TokenBucket] = {}
        #: Called when messages were made.
        self.on_made: Callable[[], None] = lambda: None

    async def run(self) -> None:
        """Work until cancelled."""
        options = LoopOptions(
            name="audience_sends",
            pause_s=IDLE_SECONDS,
            idle_max_s=IDLE_SECONDS_MAX,
            error_s=ERROR_SECONDS,
        )
        await Loop(self._step, options).run()

    async def _step(self) -> float | None:
        return SLICE_SECONDS if await self.run_once() else None

    async def run_once(self) -> int:
        """One slice of every running job; returns how many still run.

        Raises:
            StoreError: the store is unavailable; what was made is counted.
        """
        running = await self._jobs.running(self._clock_us(), JOBS_MAX)
        self._buckets = {
            one.id: self._buckets[one.id] for one in running if one.id in self._buckets
        }
        if not running or not await self._leadership.is_held():
            return 0
        unfinished = 0
        for job in running:
            unfinished += await self._advance(job)
        self.on_made()
        return unfinished

    async def _advance(self, job: SendJob) -> bool:
        now_us = self._clock_us()
        per_second = job.per_second or PER_SECOND
        # It starts with one token and holds no more than a slice.
        bucket = self._buckets.setdefault(job.id, TokenBucket(per_second, burst=SLICE_MAX, level=1))
        allowance = bucket.available(self._time.at(now_us))
        # Half a slice at most, which a fast job has gained when its next turn comes.
        if allowance < max(1, min(SLICE_MAX // 2, int(per_second * TOGETHER_SECONDS))):
            return True
        looked, has_more = await self._jobs.advance(job.id, allowance, now_us)
        bucket.spend(looked)
        return has_more
