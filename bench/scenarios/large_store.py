"""Does it slow down as the store grows?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench import contenders
from bench.collector import Collector
from bench.contenders import Running, fresh_folder
from bench.load import template, wrk
from bench.options import Options
from bench.results import Bars, Better, Comparison, Outcome, ratios
from bench.scenario import Progress, Scenario

CONNECTIONS = 64
BATCH_CONNECTIONS = 8
EVENTS_A_BATCH = 100
#: The filling goes in steps: a short one shows how fast it goes, longer ones follow.
FILL_FIRST_STEP_S = 1
FILL_STEP_S_MAX = 10
#: Filling is given up below this speed.
FILL_EVENTS_PER_SECOND_MIN = 5_000
#: Generous: what an event takes with its indexes, and the log beside it.
BYTES_AN_EVENT = 2_000
SERIES = contenders.HEADRACE.name
EMPTY = "empty store"
SINGLE, BATCH = "single events", f"batches of {EVENTS_A_BATCH}"


class StoreNotFilledError(RuntimeError):
    """The large store could not be made."""


def run(options: Options, progress: Progress) -> Outcome:
    """Fill one store through the batch API, then take turns between it and empty ones."""
    figures = Collector()
    large = f"{options.large_store_events:,} events stored"
    with fresh_folder(options.stores, "large") as large_folder:
        filled = _fill(large_folder, options, progress)
        for number in range(1, options.rounds + 1):
            with fresh_folder(options.stores, "empty") as empty_folder:
                _measure(EMPTY, empty_folder, figures, options)
            _measure(large, large_folder, figures, options)
            progress(f"round {number}: {_summary(figures, large)}")
    return Outcome(
        rows=figures.rows(),
        comparisons=(_comparison(figures, large),),
        charts=(_chart(figures, large),),
        notes=(f"The large store was filled with {filled:,} events before the first round.",),
    )


def _fill(folder: Path, options: Options, progress: Progress) -> int:
    """Send batches until the store holds at least as many events as asked for; return how many.

    Raises:
        StoreNotFilledError: no room on the disk, or it takes too long.
    """
    wanted = options.large_store_events
    if shutil.disk_usage(folder).free < wanted * BYTES_AN_EVENT:
        raise StoreNotFilledError(f"{wanted:,} events want {wanted * BYTES_AN_EVENT / 1e9:.0f} GB")
    stored, step_s = 0, FILL_FIRST_STEP_S
    with contenders.HEADRACE.start(folder) as up:
        while stored < wanted:
            sent = _press_batches(up, folder, step_s).requests * EVENTS_A_BATCH
            if sent < step_s * FILL_EVENTS_PER_SECOND_MIN:
                raise StoreNotFilledError(f"only {sent:,} events in {step_s} s")
            stored += sent
            step_s = min(FILL_STEP_S_MAX, max(1, (wanted - stored) * step_s // sent))
            progress(f"filling: {stored:,} of {wanted:,} events")
        up.check_stored(wanted)
    # What filling left in the page cache is written now, not while the first round is measured.
    os.sync()
    return stored


def _measure(point: str, folder: Path, figures: Collector, options: Options) -> None:
    with contenders.HEADRACE.start(folder) as up:
        figures.add(SERIES, point, "ready after", "s", up.server.ready_after_s)
        request = template.single(up.port, up.api_key)
        _press(request, up, CONNECTIONS, options.warmup_s, folder)
        singles = _press(request, up, CONNECTIONS, options.seconds, folder)
        figures.add(SERIES, point, SINGLE, "events/s", singles.per_second)
        batches = _press_batches(up, folder, options.seconds)
        figures.add(SERIES, point, BATCH, "events/s", batches.per_second * EVENTS_A_BATCH)


def _press_batches(up: Running, folder: Path, seconds: int) -> wrk.Load:
    request = template.batch(up.port, up.api_key, EVENTS_A_BATCH)
    return _press(request, up, BATCH_CONNECTIONS, seconds, folder)


def _press(
    request: template.Template, up: Running, connections: int, seconds: int, folder: Path
) -> wrk.Load:
    return wrk.press(request, port=up.port, connections=connections, seconds=seconds, work=folder)


def _summary(figures: Collector, large: str) -> str:
    parts = (
        f"{point}: {figures.row(SERIES, point, metric).rounds[-1]:,.0f}/s in {metric}"
        for point in (EMPTY, large)
        for metric in (SINGLE, BATCH)
    )
    return ", ".join(parts)


def _comparison(figures: Collector, large: str) -> Comparison:
    return Comparison(
        what=f"accept of single events with {large}, share of the empty store's",
        unit="",
        rounds=ratios(figures.row(SERIES, large, SINGLE), figures.row(SERIES, EMPTY, SINGLE)),
        bar=0.8,
        goal=0.95,
        better=Better.HIGHER,
    )


def _chart(figures: Collector, large: str) -> Bars:
    return Bars(
        title="Events accepted a second, empty and large store",
        unit="events/s",
        groups=(SINGLE, BATCH),
        series={
            point: tuple(figures.row(SERIES, point, kind).rounds for kind in (SINGLE, BATCH))
            for point in (EMPTY, large)
        },
    )


SCENARIO = Scenario(
    name="large-store",
    title="A large store against an empty one",
    method=(
        "One store is filled through the batch API. Then the service is started in turns on that "
        f"store and on an empty one and loaded by wrk: single events over {CONNECTIONS} "
        f"connections, then batches of {EVENTS_A_BATCH} over {BATCH_CONNECTIONS}. Keys and people "
        "are random, so every index is written all over."
    ),
    run=run,
)
