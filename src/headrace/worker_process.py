"""The worker: everything that happens to events after they were accepted, in a process of its own.

Apart from the server because handlers are other people's code and network calls cost CPU: neither
may share an interpreter with ingest (docs/decisions/0003-worker-process.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import Protocol

import structlog

from headrace.config import Settings
from headrace.domain.processes import own_name
from headrace.domain.timestamps import now_us
from headrace.observability.events import WORKER_STARTED, WORKER_STOPPED
from headrace.pipeline.processor import Processor
from headrace.pipeline.replayer import Replayer
from headrace.pipeline.rules_cache import RulesCache
from headrace.store.contract import Store, StoreError

STOP_SECONDS_MAX = 5.0

_log = structlog.get_logger()


class Loop(Protocol):
    """One background loop."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class WorkerProcess:
    """Runs the loops of one worker until `ended` is set."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.ended = asyncio.Event()
        self.failed = False
        self._settings = settings
        self._store = store
        self._nudged = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every loop.

        Raises:
            StoreError: the store cannot be read.
        """
        store, rng = self._store, random.SystemRandom()
        rules = RulesCache(store.projects, store.processing)
        await rules.refresh()
        self.processor = Processor(
            store.processing,
            rules,
            owner=own_name(),
            nudged=self._nudged,
            clock_us=now_us,
            rng=rng,
        )
        replayer = Replayer(store.replays, store.processing, owner=own_name(), clock_us=now_us)
        self._begin(rules, self.processor, replayer)
        _log.info(WORKER_STARTED, store=self._settings.store)

    def _begin(self, *loops: Loop) -> None:
        for loop in loops:
            task = asyncio.create_task(loop.run(), name=type(loop).__name__)
            task.add_done_callback(self._loop_ended)
            self._tasks.append(task)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        # Loops wait errors out, so an end by itself is a fault: better a fresh process than a
        # worker that does half of its duties.
        if not task.cancelled():
            self.failed = True
            _log.error(WORKER_STOPPED, loop=task.get_name(), error=repr(task.exception()))
            self.ended.set()

    async def watch_parent(self, descriptor: int) -> None:
        """Be nudged by the server through a pipe, and end when it closes."""
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(descriptor, "rb", buffering=0)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        while await reader.read(4096):
            self._nudged.set()
        self.ended.set()

    async def stop(self) -> None:
        """End the loops, give back what is claimed, close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreError):
            await self.processor.stop()
        await self._store.close()
        _log.info(WORKER_STOPPED)
