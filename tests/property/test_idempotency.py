"""One event for each key, under any concurrency, through the real queue and store."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.domain.access.policies import DEFAULTS
from headrace.domain.events.event import FirstCopy, Source
from headrace.domain.events.event_types import Draft
from headrace.domain.events.identity import IdentityType
from headrace.domain.ids import EventIdGenerator
from headrace.pipeline.access.keys import ProjectAccess
from headrace.pipeline.intake.accept import Acceptor, Origin
from headrace.pipeline.intake.commit_queue import CommitQueue
from headrace.store.contract.commits import Pending
from headrace.store.contract.errors import StoreFailedError
from headrace.store.contract.events import EventFilter
from headrace.store.sqlite import SqliteStore, open_store

NOW_US = 1_780_928_100_000_000

#: Project, key (None: without one), content.
Sent = tuple[int, str | None, int]

SENT = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from([None, "a", "b", "c"]), st.integers(0, 1)),
    min_size=1,
    max_size=60,
)
#: How many are sent before the loop handles the writer's results.
GROUPS = st.lists(st.integers(1, 20), min_size=1, max_size=20)


async def accept_all(
    store: SqliteStore, run: int, sent: list[Sent], groups: list[int]
) -> list[tuple[Sent, Pending]]:
    queue = CommitQueue(asyncio.get_running_loop(), store.wake)
    ids = EventIdGenerator(lambda: NOW_US, after=await store.events.last_sequence())
    acceptor = Acceptor(queue, ids)
    answers: list[tuple[Sent, Pending]] = []
    finished = asyncio.Event()
    queue.on_settled = lambda _: finished.set() if len(answers) == len(sent) else None
    failures: list[StoreFailedError] = []
    store.start_committing(queue, failures.append)
    left = iter(sent)
    for size in groups * len(sent):
        for one in [found for _, found in zip(range(size), left, strict=False)]:
            project_id, key, content = one
            draft = Draft(
                event="order.completed",
                contact_id=None,
                external_id="x",
                email=None,
                email_original=None,
                payload=f'{{"content":{content}}}',
                occurred_us=NOW_US,
                idempotency_key=None if key is None else f"{run}-{key}",
                identity_type=IdentityType.EXTERNAL_ID,
                identity_value="x",
            )
            project = ProjectAccess(run * 10 + project_id, DEFAULTS)
            acceptor.submit(
                draft,
                Origin(project, Source.API, None, None),
                NOW_US,
                lambda pending, one=one: answers.append((one, pending)),  # type: ignore[misc]
            )
        # Settles what was committed in the meantime before the next are sent.
        await store.events.last_sequence()
    await asyncio.wait_for(finished.wait(), 20)
    assert failures == []
    return answers


def check_answers(sent: list[Sent], answers: list[tuple[Sent, Pending]]) -> None:
    assert sorted(map(repr, (one for one, _ in answers))) == sorted(map(repr, sent))
    by_key: dict[tuple[int, str], list[tuple[int, Pending]]] = defaultdict(list)
    for (project_id, key, content), pending in answers:
        if key is None:
            assert pending.outcome is None
        else:
            by_key[project_id, key].append((content, pending))
    for same in by_key.values():
        (first,) = [(content, p) for content, p in same if p.outcome is None]
        for content, pending in same:
            if pending is not first[1]:
                assert isinstance(pending.outcome, FirstCopy)
                assert pending.outcome.id == first[1].event.id
                assert pending.outcome.mismatch == (content != first[0])


async def stored_count(store: SqliteStore, project_id: int) -> int:
    page = await store.events.list(project_id, EventFilter(), before=None, limit=200)
    return len(page.events)


def test_each_key_is_stored_as_one_event(tmp_path_factory: object) -> None:
    folder: Path = tmp_path_factory.mktemp("idempotency")  # type: ignore[attr-defined]
    runs = iter(range(1, 1_000_000))

    with asyncio.Runner() as runner:

        async def opened() -> SqliteStore:
            return open_store(folder / "headrace.db", serve=True)

        store = runner.run(opened())

        @settings(max_examples=120)
        @given(SENT, GROUPS)
        def check(sent: list[Sent], groups: list[int]) -> None:
            run = next(runs)
            answers = runner.run(accept_all(store, run, sent, groups))
            check_answers(sent, answers)
            for project_id in (1, 2):
                mine = [key for project, key, _ in sent if project == project_id]
                expected = mine.count(None) + len(set(mine) - {None})
                assert runner.run(stored_count(store, run * 10 + project_id)) == expected

        try:
            check()
        finally:
            runner.run(store.close())


def test_two_hundred_repeats_at_once_make_one_event(tmp_path: Path) -> None:
    rng = random.Random(1)
    sent: list[Sent] = [(1, "a", rng.randint(0, 1)) for _ in range(200)]

    async def run() -> None:
        store = open_store(tmp_path / "headrace.db", serve=True)
        try:
            answers = await accept_all(store, 1, sent, [200])
            check_answers(sent, answers)
            assert await stored_count(store, 11) == 1
        finally:
            await store.close()

    asyncio.run(run())
