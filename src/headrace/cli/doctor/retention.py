"""Checks of retention: whether it runs and keeps up, and when the disk will be full."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headrace.cli.doctor.finding import Finding, Level, ok, warn
from headrace.domain.timestamps import to_text
from headrace.domain.upkeep.retention import DAY_US, HOUR_US, bytes_per_day, days_to_full
from headrace.store.contract.health import StoreHealth
from headrace.store.contract.retention import Growth, RetentionState, SpaceUse
from headrace.store.store import Store

#: Warn when the disk will be full sooner than this.
DAYS_TO_FULL_MIN = 14
#: Sweeps run every minute, so this long without one means that none runs.
SILENCE_US = 10 * 60 * 1_000_000
LAG_US_MAX = DAY_US
#: With fewer, what an empty store has already would count as theirs.
EVENTS_MIN = 1000
#: Free space that is worth a compaction: more than this, and more than this share of the file.
FREE_BYTES_MAX = 64 * 1024 * 1024
FREE_SHARE_MAX = 0.2
_MIB = 1024 * 1024


class Kept(msgspec.Struct, frozen=True):
    """What retention has recorded in the store."""

    state: RetentionState | None
    growth: Growth
    #: None on PostgreSQL.
    space: SpaceUse | None = None


async def look_at_retention(store: Store) -> Kept:
    """Read the data of the checks."""
    retention = store.retention
    return Kept(await retention.state(), await retention.growth(), await retention.space_use())


def check_retention(
    kept: Kept, health: StoreHealth, at_us: int, free_bytes_min: int
) -> Iterator[Finding]:
    """Check that expired events are removed, and estimate when the disk is full."""
    yield _sweeps(kept.state, at_us)
    if kept.space is not None:
        yield _space(kept.space)
    if health.free_bytes is not None:
        # Pages freed by removed rows are reused before the file grows.
        room = kept.growth.reusable_bytes + max(0, health.free_bytes - free_bytes_min)
        yield _growth(kept.growth, room)


def _sweeps(state: RetentionState | None, at_us: int) -> Finding:
    if state is None:
        return ok("retention", "has not run on this store yet")
    found = f"last run {to_text(state.at_us)}, {state.events} events removed in total"
    if at_us - state.at_us > SILENCE_US:
        return warn("retention", found, "Start a worker: headrace serve or headrace worker")
    if state.lag_us > LAG_US_MAX:
        found += f", {state.lag_us // HOUR_US} h behind"
        advice = (
            "After a long stop it catches up automatically, one day per hour. Otherwise check the "
            "clock, or send fewer events than it can remove."
        )
        return warn("retention", found, advice)
    return ok("retention", found)


def _space(space: SpaceUse) -> Finding:
    """Bytes per event, and whether a compaction is worth it."""
    used, free, events = space.used_bytes, space.reusable_bytes, space.events_about
    found = f"about {used // events} bytes per event" if events >= EVENTS_MIN else "few events yet"
    found += f", {free // _MIB} MiB free inside the file"
    if free > FREE_BYTES_MAX and free > FREE_SHARE_MAX * (used + free):
        # New events fill it, so this is not a problem.
        return Finding("space", Level.OK, found, f"headrace compact gives back {free // _MIB} MiB.")
    return ok("space", found)


def _growth(growth: Growth, room_bytes: int) -> Finding:
    daily = bytes_per_day(growth.samples)
    room = f"room for {room_bytes // _MIB} MiB more"
    if daily is None:
        return ok("growth", f"{room}; growth is known after one hour of operation")
    days = days_to_full(growth.samples, room_bytes)
    if days is None:
        return ok("growth", f"{room}; the store is not growing")
    found = f"{room}, {daily / _MIB:.1f} MiB a day: full in {days:.0f} days"
    if days < DAYS_TO_FULL_MIN:
        return warn("growth", found, "Free disk space, or shorten event_retention_days.")
    return ok("growth", found)
