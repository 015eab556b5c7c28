"""Live streams: their limits, access checks, and how each of them ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum, StrEnum

from headrace.domain.events.event import NewEvent
from headrace.pipeline.loop import Loop, LoopOptions
from headrace.pipeline.streams.live import LiveFeed

#: Streams of one process.
STREAMS_MAX = 200
#: Streams of one project in one process; fewer when places get scarce, see `Streams.open`.
PROJECT_STREAMS_MAX = 50
#: Streams of one API key or operator in one process.
HOLDER_STREAMS_MAX = 20

#: How often the right to each stream is checked. The right itself comes from what `AccessCache`
#: and the backoffice have read from the store within the last seconds.
CHECK_SECONDS = 0.5
#: A stream ends when the store has not confirmed its right for so long: a failover does not end
#: every stream, and an unreachable database keeps none open.
UNCONFIRMED_SECONDS_MAX = 10.0
#: Time from the end of a right to cutting the connection of a client that does not read.
END_SECONDS_MAX = 1.0

#: When the store last confirmed that the holder may have the stream, in seconds of the monotonic
#: clock; None: it may not. Answers from memory.
Right = Callable[[], float | None]


class StreamEnd(StrEnum):
    """Why a stream was ended by the server, as its last message says."""

    #: The key or session is no longer valid, or may no longer read this project.
    ACCESS_ENDED = "access_ended"
    #: The store could not be asked for `UNCONFIRMED_SECONDS_MAX`.
    ACCESS_UNCONFIRMED = "access_unconfirmed"
    SERVER_STOPPING = "server_stopping"


class StreamLimit(Enum):
    """What keeps a stream from being opened."""

    HOLDER = f"There are {HOLDER_STREAMS_MAX} open streams of this key or operator already."
    PROJECT = "This project has its share of open streams already."
    PROCESS = "Too many streams are open."
    UNCONFIRMED = "The store cannot be asked who may have a stream."

    @property
    def is_own(self) -> bool:
        """Whether it is the caller's own share, not a state of the server."""
        return self in (StreamLimit.HOLDER, StreamLimit.PROJECT)


class StreamRejectedError(Exception):
    """A stream is not opened now; `limit` says why."""

    def __init__(self, limit: StreamLimit) -> None:
        super().__init__(limit.value)
        self.limit = limit


class Streams:
    """The open streams of the process; ends those whose right is over.

    Args:
        monotonic_s: clock of `Right`.
    """

    def __init__(
        self, live: LiveFeed, *, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._live = live
        self._monotonic_s = monotonic_s
        self._open: set[Stream] = set()
        self._stopping = False

    def open(self, project_id: int, holder: str, right: Right, cut: Callable[[], None]) -> Stream:
        """Begin to watch a project. The caller calls `Stream.close` when the response is over.

        A project gets no more streams than are left for all others. So one that opens as many as it
        can leaves half of the places, and the next one half of those.

        Args:
            holder: key or operator whose share it counts for.
            right: asked every `CHECK_SECONDS` and before events are handed out.
            cut: closes the connection at once; for a client that does not read the end.

        Raises:
            StreamRejectedError: a limit is reached, or the right is not confirmed.
        """
        confirmed_s = right()
        if confirmed_s is not None and self._is_stale(confirmed_s):
            raise StreamRejectedError(StreamLimit.UNCONFIRMED)
        left = STREAMS_MAX - len(self._open)
        if left <= 0:
            raise StreamRejectedError(StreamLimit.PROCESS)
        if sum(stream.holder == holder for stream in self._open) >= HOLDER_STREAMS_MAX:
            raise StreamRejectedError(StreamLimit.HOLDER)
        of_project = sum(stream.project_id == project_id for stream in self._open)
        if of_project >= min(PROJECT_STREAMS_MAX, left):
            raise StreamRejectedError(StreamLimit.PROJECT)
        stream = Stream(self, self._live, project_id, holder, right, cut)
        self._open.add(stream)
        if self._stopping:
            stream.end(StreamEnd.SERVER_STOPPING, self._monotonic_s())
        return stream

    def discard(self, stream: Stream) -> None:
        """Forget a stream that is over."""
        self._open.discard(stream)

    def check(self, stream: Stream) -> bool:
        """End a stream whose right is over; returns whether it continues."""
        confirmed_s = stream.right()
        if confirmed_s is None:
            stream.end(StreamEnd.ACCESS_ENDED, self._monotonic_s())
        elif self._is_stale(confirmed_s):
            stream.end(StreamEnd.ACCESS_UNCONFIRMED, self._monotonic_s())
        return stream.end_reason is None

    def check_all(self) -> None:
        """End the streams whose right is over, and cut those that were ended and did not close."""
        now_s = self._monotonic_s()
        for stream in list(self._open):
            self.check(stream)
            if stream.ended_s is not None and now_s - stream.ended_s >= END_SECONDS_MAX:
                stream.cut()
                stream.close()

    def stop(self) -> None:
        """End all streams, and each one opened later."""
        self._stopping = True
        for stream in list(self._open):
            stream.end(StreamEnd.SERVER_STOPPING, self._monotonic_s())

    async def run(self) -> None:
        """Check until cancelled."""
        options = LoopOptions(name="streams", pause_s=CHECK_SECONDS, pause_first=True)
        await Loop(self._step, options).run()

    async def _step(self) -> None:
        self.check_all()

    def _is_stale(self, confirmed_s: float) -> bool:
        return self._monotonic_s() - confirmed_s >= UNCONFIRMED_SECONDS_MAX


class Stream:
    """One long-lived response and the right to it; made by `Streams.open`."""

    def __init__(
        self,
        streams: Streams,
        live: LiveFeed,
        project_id: int,
        holder: str,
        right: Right,
        cut: Callable[[], None],
    ) -> None:
        self._streams = streams
        self._live = live
        self._watcher = live.watch(project_id)
        self.project_id = project_id
        self.holder = holder
        self.right = right
        self.cut = cut
        #: Why and when (by the monotonic clock) the server has ended it; None: it is open.
        self.end_reason: StreamEnd | None = None
        self.ended_s: float | None = None

    async def next(self, timeout_s: float) -> tuple[list[NewEvent], int] | None:
        """Wait for events; None once the stream has ended, see `end_reason`.

        Returns:
            `(events, missed before them)`, both empty when none came in time.
        """
        if not self._streams.check(self):
            return None
        taken = await self._watcher.next(timeout_s)
        return taken if self._streams.check(self) else None

    def end(self, reason: StreamEnd, now_s: float) -> None:
        """Deliver no more events and wake the reader; the first reason stays."""
        if self.end_reason is None:
            self.end_reason, self.ended_s = reason, now_s
            self._watcher.wake()

    def close(self) -> None:
        """The response is over."""
        self._streams.discard(self)
        self._live.leave(self._watcher)
