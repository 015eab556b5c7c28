"""A process that runs all replays of a store; it can crash on request, see `headrace.faults`."""

from __future__ import annotations

import asyncio
import itertools
import sys

from headrace.pipeline.delivering.replayer import Replayer
from headrace.process_names import own_name
from headrace.stores import open_store
from tests.support.events import START_US


async def work(store_url: str) -> None:
    """A clock that advances by 100 ms with each round."""
    store = await open_store(store_url, serve=False, create=False)
    times = itertools.count(START_US, 100_000)
    try:
        replayer = Replayer(
            store.replays, store.processing, owner=own_name(), clock_us=lambda: next(times)
        )
        while (await replayer.run_once()).running:
            pass
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
