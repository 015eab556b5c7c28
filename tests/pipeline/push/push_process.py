"""A process that sends due pushes, and may crash at a fail point, see `headrace.faults`.

It is forked from one that has imported everything, since importing takes longer than the work.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from multiprocessing.process import BaseProcess

from headrace import faults
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


def run(store_url: str, origin: str, kill_at: str) -> None:
    """Send until nothing waits, or until the process passes a fail point."""
    faults._armed, faults._action = kill_at, "kill"
    asyncio.run(work(store_url, origin))


def start(store_url: str, origin: str, kill_at: str = "") -> BaseProcess:
    """A process that runs."""
    context = multiprocessing.get_context("forkserver")
    # Effective before the first process.
    context.set_forkserver_preload([__name__])
    process = context.Process(target=run, args=(store_url, origin, kill_at), daemon=True)
    process.start()
    return process
