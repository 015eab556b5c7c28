"""A process that sends due mail; it can be configured to crash, see `headrace.faults`."""

from __future__ import annotations

import asyncio
import sys

from headrace.domain.messages.kinds import MessageStatus
from headrace.process_names import own_name
from headrace.store.engine.dialect import sql
from headrace.store.messages.sending import outbox
from headrace.store.store import Store
from headrace.stores import open_store
from tests.pipeline.messages.senders import new_sender, smtp_relay

#: States of messages that still need work from this process.
OPEN = (MessageStatus.QUEUED, MessageStatus.SENDING, MessageStatus.DEFERRED)
#: Interval between polls while all open messages wait for a time, such as a retry.
WAIT_SECONDS = 0.05


async def work(store_url: str, port: int) -> None:
    store = await open_store(store_url, serve=False, create=False)
    owner = own_name()
    async with smtp_relay(port, connections_max=3) as relay:
        sender = await new_sender(store, relay, owner, rescue_s=0.0, ahead_max=2)
        while await is_open(store):
            await store.processing.acquire_leadership("processing", owner, 60_000_000)
            begun = await sender.run_once()
            await sender.idle()
            if not begun:
                await asyncio.sleep(WAIT_SECONDS)
        await sender.stop()
    await store.close()


async def is_open(store: Store) -> bool:
    """Whether any message waits, or a dead worker still holds one."""
    lists = store.messages.lists
    for project in await store.projects.list():
        for state in OPEN:
            if await lists.list(project.id, state=state, limit=1):
                return True
    return False


if __name__ == "__main__":
    if sys.argv[3:] == ["forget"]:
        # As if no attempt had been recorded before the hand-over.
        outbox._BEGUN = sql(f"{outbox._BEGUN.postgres} AND number < 0")
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
