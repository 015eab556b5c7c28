"""When keys were last used: recorded in memory, written to the store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.pipeline.access.key_uses import KeyUseLog
from headrace.pipeline.access.keys import AccessCache
from headrace.stores import open_store

AT_US = 1_780_000_000_000_000


async def _uses(folder: Path) -> None:
    store = await open_store(f"sqlite:///{folder}/h.db", serve=True)
    project = await store.projects.create("shop", AT_US, actor="test")
    used, idle = (issue_key(project.id, frozenset(Scope), name="", now_us=AT_US) for _ in range(2))
    for issued in (used, idle):
        await store.projects.add_key(issued.key, actor="test")
    now_us = [AT_US + 1]
    access = AccessCache(store.projects, lambda: now_us[0])
    await access.refresh()
    log = KeyUseLog(access, store.members, lambda: now_us[0])
    header = f"Bearer {used.text}".encode()
    name = used.key.public_id

    assert access.authenticate_header(header) is not None
    assert access.authenticate_header(b"Bearer hr_wrong") is None
    await log.flush()
    assert await store.members.key_uses(project.id) == {name: AT_US + 1}

    # Without new uses there is nothing to write.
    now_us[0] = AT_US + 2
    await log.flush()
    assert await store.members.key_uses(project.id) == {name: AT_US + 1}

    # Recorded uses survive a change of keys, which clears the cache of verified keys.
    assert access.authenticate_header(header) is not None
    await store.projects.revoke_key(idle.key.public_id, now_us[0], actor="test")
    await access.refresh()
    await log.flush()
    assert await store.members.key_uses(project.id) == {name: AT_US + 2}
    await store.close()


def test_uses_are_recorded_exactly_once(tmp_path: Path) -> None:
    asyncio.run(_uses(tmp_path))
