"""A process that sends what is due in a store; it can be told to die, see `headrace.faults`."""

from __future__ import annotations

import asyncio
import sys

from headrace.process_names import own_name
from headrace.store.engine.dialect import sql
from headrace.store.messages import outbox
from headrace.stores import open_store
from tests.pipeline.messages.senders import new_sender, smtp_relay

#: Looks that find nothing before the process ends.
LOOKS = 3


async def work(store_url: str, port: int) -> None:
    store = await open_store(store_url, serve=False, create=False)
    owner = own_name()
    async with smtp_relay(port, connections_max=3) as relay:
        sender = await new_sender(store, relay, owner, rescue_s=0.0, ahead_max=2)
        found_nothing = 0
        while found_nothing < LOOKS:
            await store.processing.acquire_leadership("processing", owner, 60_000_000)
            begun = await sender.run_once()
            await sender.idle()
            found_nothing = 0 if begun else found_nothing + 1
        await sender.stop()
    await store.close()


if __name__ == "__main__":
    if sys.argv[3:] == ["forget"]:
        # As if no attempt had been written before the hand-over.
        outbox._BEGUN = sql(f"{outbox._BEGUN.postgres} AND number < 0")
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
