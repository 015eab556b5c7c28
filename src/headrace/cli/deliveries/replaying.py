"""Starting a replay of many dead letters and following its progress."""

from __future__ import annotations

import asyncio
import time

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.progress import progress
from headrace.cli.shared.stores import ACTOR, find_project, in_store
from headrace.config import Settings
from headrace.store.contract.dead_letters import (
    RUNNING_MAX,
    SAMPLE_MAX,
    DeadLetter,
    DeadLetterFilter,
    NewReplay,
    Replay,
    ReplayStatus,
    TooManyReplaysError,
)
from headrace.store.store import Store

#: Interval between polls of the job.
_LOOK_SECONDS = 0.2
#: A job without progress for this long has no worker; the slowest rate is one a second.
_STILL_SECONDS_MAX = 20.0


def dry_run(
    settings: Settings, project: str, wanted: DeadLetterFilter
) -> tuple[int, list[DeadLetter]]:
    """How many dead letters a replay would include, and a sample of them."""

    async def work(store: Store) -> tuple[int, list[DeadLetter]]:
        owner = await find_project(store, project)
        count, _ = await store.dead_letters.count(owner.id, wanted)
        page = await store.dead_letters.list(owner.id, wanted, before=None, limit=SAMPLE_MAX)
        return count, page.dead_letters

    return in_store(settings, work)


def start(settings: Settings, project: str, wanted: DeadLetterFilter, per_second: int) -> Replay:
    """Create the job; it continues even if this command ends.

    Raises:
        CommandFailed: too many replays are running.
    """
    from headrace.domain.ids import new_uuid, uuid_text

    async def work(store: Store) -> Replay:
        owner = await find_project(store, project)
        total, last_number = await store.dead_letters.count(owner.id, wanted)
        new = NewReplay(
            id=uuid_text(new_uuid()),
            project_id=owner.id,
            wanted=wanted,
            per_second=per_second,
            total=total,
            last_number=last_number,
            actor=ACTOR,
        )
        return await store.replays.create(new, store.clock_us())

    try:
        return in_store(settings, work)
    except TooManyReplaysError:
        raise CommandFailed(f"{RUNNING_MAX} replays of the project are already running.") from None


def watch(settings: Settings, job: Replay) -> Replay:
    """Show progress until the job ends; returns its final state.

    Raises:
        CommandFailed: no worker seems to process it.
    """

    async def work(store: Store) -> Replay:
        seen, changed_at = job, time.monotonic()
        with progress("replaying", job.total) as show:
            while seen.status is ReplayStatus.RUNNING:
                await asyncio.sleep(_LOOK_SECONDS)
                found = await store.replays.get(job.project_id, job.id)
                if found is None:
                    raise CommandFailed(f"Replay {job.id} no longer exists.")
                if found.updated_us != seen.updated_us:
                    changed_at = time.monotonic()
                if time.monotonic() - changed_at > _STILL_SECONDS_MAX:
                    raise CommandFailed(
                        f"Replay {job.id} is waiting: no worker is running. "
                        "It continues when one starts."
                    )
                seen = found
                show(seen.done, f"{seen.done} of {seen.total}")
        return seen

    return in_store(settings, work)
