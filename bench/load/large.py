"""Fills a store with very many events and processes them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import contenders
from bench.headrace_server import working
from bench.load.fill import anybody, everybody, fill
from bench.load.generated import generate
from bench.load.template import WRK_PEOPLE
from bench.scenario import Progress
from bench.store_reader import reading
from bench.stores import DATABASE, shared

FILL_STEP_EVENTS = 200_000
#: Processing is abandoned below this speed.
EVENTS_PER_SECOND_MIN = 1_000
START_S = 30
#: Generous: size of an event with its indexes, and the log.
BYTES_AN_EVENT = 2_000


class StoreNotFilledError(RuntimeError):
    """The large store could not be made."""


def fill_large(folder: Path, events: int, progress: Progress) -> None:
    """Store events, first one of each person, and process them.

    On SQLite all but those first are copies, written by SQL as the worker would leave them.

    Raises:
        StoreNotFilledError: not enough disk space.
    """
    wanted_bytes = events * BYTES_AN_EVENT
    if shutil.disk_usage(folder).free < wanted_bytes:
        raise StoreNotFilledError(f"{events:,} events want {wanted_bytes / 1e9:.0f} GB")
    seed = events if shared() else min(events, WRK_PEOPLE)
    with contenders.headrace_api(folder) as up:
        stored = fill(up.port, up.api_key, everybody(min(events, WRK_PEOPLE)))
        while stored < seed:
            step = min(FILL_STEP_EVENTS, seed - stored)
            stored += fill(up.port, up.api_key, anybody(WRK_PEOPLE, step))
            progress(f"filling: {stored:,} of {seed:,} events")
    drain(folder, seed)
    progress(f"processed {seed:,} events")
    if seed < events:
        generate(folder / DATABASE, events, progress)
    # Write back the page cache now, not while the first round is measured.
    os.sync()


def drain(folder: Path, events: int) -> None:
    """Let one worker process the queue of this many events."""
    with working(folder), reading(folder) as reader:
        reader.wait_until_processed(START_S + events / EVENTS_PER_SECOND_MIN)
