"""Commands that open the store themselves, also beside a running server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from headrace.cli.shared.failure import usage
from headrace.config import Settings
from headrace.store.contract.access import Project
from headrace.store.store import Store

T = TypeVar("T")

#: The actor in the audit log.
ACTOR = "cli"
DEFAULT_PROJECT = "default"


def in_store(
    settings: Settings, work: Callable[[Store], Awaitable[T]], *, create: bool = False
) -> T:
    """Open the store, run `work` on it and close it.

    Args:
        create: whether to create a missing store; without it a missing store ends the command.
    """
    from headrace.stores import open_configured

    async def run() -> T:
        store = await open_configured(settings, serve=False, create=create)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


async def find_project(store: Store, name: str) -> Project:
    """The project of that name.

    Raises:
        CommandFailed: there is no such project.
    """
    projects = await store.projects.list()
    for project in projects:
        if project.name == name:
            return project
    known = ", ".join(project.name for project in projects) or "none yet"
    raise usage(f"There is no project {name!r}. Projects: {known}")
