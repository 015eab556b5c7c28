"""Live streams: shares, and streams that cannot be confirmed or do not close."""

from __future__ import annotations

import asyncio

import pytest

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.pipeline.access.keys import AccessCache
from headrace.pipeline.streams.live import LiveFeed
from headrace.pipeline.streams.streams import (
    END_SECONDS_MAX,
    HOLDER_STREAMS_MAX,
    PROJECT_STREAMS_MAX,
    STREAMS_MAX,
    UNCONFIRMED_SECONDS_MAX,
    Stream,
    StreamEnd,
    StreamLimit,
    StreamRejectedError,
    Streams,
)
from tests.support.places import Place

ENDLESS_S = 60.0


class World:
    """Streams whose clock and access the test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.streams = Streams(LiveFeed(), monotonic_s=lambda: self.now_s)
        #: Access reported to every stream; None: it has ended.
        self.confirmed_s: float | None = self.now_s
        self.cut: list[str] = []

    def open(self, project_id: int = 1, holder: str = "key") -> Stream:
        return self.streams.open(
            project_id, holder, lambda: self.confirmed_s, lambda: self.cut.append(holder)
        )

    def open_all(self, project_id: int) -> tuple[int, StreamLimit]:
        """Open streams with one key after another until no further key helps."""
        count = 0
        for key in range(STREAMS_MAX):
            try:
                while True:
                    self.open(project_id, f"key {key} of {project_id}")
                    count += 1
            except StreamRejectedError as error:
                if error.limit is not StreamLimit.HOLDER:
                    return count, error.limit
        raise AssertionError


def test_key_has_a_share_that_is_returned() -> None:
    world = World()
    opened = [world.open() for _ in range(HOLDER_STREAMS_MAX)]
    with pytest.raises(StreamRejectedError) as refused:
        world.open()
    assert refused.value.limit is StreamLimit.HOLDER
    assert refused.value.limit.is_own
    world.open(holder="another key")
    opened[0].close()
    opened[0].close()
    world.open()


def test_projects_share_the_remaining_streams() -> None:
    world = World()
    got: list[int] = []
    while (taken := world.open_all(len(got)))[0]:
        got.append(taken[0])
    assert got[0] == PROJECT_STREAMS_MAX
    assert got == sorted(got, reverse=True)
    # However few places are left, a project without streams gets one.
    assert sum(got) == STREAMS_MAX
    assert taken[1] is StreamLimit.PROCESS
    assert not taken[1].is_own


def test_stream_without_permission_sends_nothing_more() -> None:
    async def run() -> None:
        world = World()
        stream = world.open()
        waits = asyncio.create_task(stream.next(ENDLESS_S))
        await asyncio.sleep(0)
        world.confirmed_s = None
        world.streams.check_all()
        assert await waits is None
        assert await stream.next(ENDLESS_S) is None
        assert stream.end_reason is StreamEnd.ACCESS_ENDED

    asyncio.run(run())


def test_a_stream_that_was_ended_and_does_not_close_is_cut() -> None:
    world = World()
    world.open()
    world.confirmed_s = None
    world.streams.check_all()
    assert world.cut == []
    world.now_s += END_SECONDS_MAX
    world.streams.check_all()
    world.streams.check_all()
    assert world.cut == ["key"]


def test_streams_end_when_the_process_stops() -> None:
    async def run() -> None:
        world = World()
        opened = [world.open()]
        world.streams.stop()
        # From an earlier request.
        opened.append(world.open())
        for stream in opened:
            assert await stream.next(ENDLESS_S) is None
            assert stream.end_reason is StreamEnd.SERVER_STOPPING

    asyncio.run(run())


def test_stream_is_bounded_while_the_store_does_not_respond(any_place: Place) -> None:
    async def run() -> None:
        world = World()
        store = await any_place.open()
        project = await store.projects.create("p", now_us(), actor="test")
        issued = issue_key(project.id, frozenset({Scope.READ}), name="", now_us=now_us())
        await store.projects.add_key(issued.key, actor="test")
        access = AccessCache(store.projects, now_us, monotonic_s=lambda: world.now_s)
        await access.refresh()
        principal = access.authenticate(issued.text.encode())
        assert principal is not None

        def confirmed() -> float | None:
            return access.confirmed(principal, Scope.READ)

        def goes_on(stream: Stream) -> bool:
            return world.streams.check(stream)

        stream = world.streams.open(1, "key", confirmed, lambda: None)
        world.now_s += UNCONFIRMED_SECONDS_MAX - 1
        await access.refresh()
        world.now_s += UNCONFIRMED_SECONDS_MAX - 1
        assert goes_on(stream)
        world.now_s += 1
        assert not goes_on(stream)
        assert stream.end_reason is StreamEnd.ACCESS_UNCONFIRMED
        with pytest.raises(StreamRejectedError) as refused:
            world.streams.open(1, "key", confirmed, lambda: None)
        assert refused.value.limit is StreamLimit.UNCONFIRMED
        await access.refresh()
        world.streams.open(1, "key", confirmed, lambda: None)
        assert access.confirmed(principal, Scope.MANAGE) is None
        await store.close()

    asyncio.run(run())
