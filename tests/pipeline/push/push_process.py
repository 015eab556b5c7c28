"""A process that sends due pushes; it can be configured to crash, see `headrace.faults`."""

from __future__ import annotations

import asyncio
import sys

from headrace.process_names import own_name
from headrace.stores import open_store
from tests.pipeline.messages.mail_process import WAIT_SECONDS, is_open
from tests.support.pushes import new_sender, web_push


async def work(store_url: str, origin: str) -> None:
    store = await open_store(store_url, serve=False, create=False)
    owner = own_name()
    transport = web_push(origin)
    sender = new_sender(store, transport, owner, rescue_s=0.0, ahead_max=2)
    while await is_open(store):
        await store.processing.acquire_leadership("processing", owner, 60_000_000)
        begun = await sender.run_once()
        await sender.idle()
        if not begun:
            await asyncio.sleep(WAIT_SECONDS)
    await sender.stop()
    await transport.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2]))
