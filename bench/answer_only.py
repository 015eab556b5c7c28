"""The service itself, with a store that responds at once and keeps nothing.

Connections, limits, authentication, decoding, checks, ids, commit queue and responses are the
service's own code, built by its own composition root: only the commit is missing. So its speed is
what the service would reach with a free disk. For measuring only.

    python -m bench.answer_only --folder DIR --port 8080
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.headrace_server import KEY_FILE
from bench.stores import store_url
from headrace.app import Headrace
from headrace.config import load_settings
from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.store.contract.commits import CommitSource
from headrace.store.contract.errors import StoreFailedError
from headrace.store.store import Store
from headrace.stores import open_store


class AnswerOnlyStore:
    """A store with everything of `store` except the committer: accepted events are not written."""

    committers = 1

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._store = store
        self._loop = loop
        self._source: CommitSource | None = None
        self._awake = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def start_committing(
        self, source: CommitSource, on_failed: Callable[[StoreFailedError], None]
    ) -> None:
        """Keep the source of events; nothing can fail here."""
        del on_failed
        self._source = source

    def wake(self) -> None:
        """Settle everything that arrived in this iteration of the event loop at its end."""
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        self._awake = False
        # An outcome that is not set means stored.
        while self._source is not None and (batch := self._source.take()):
            self._source.settle(batch)


async def serve(folder: Path, port: int) -> None:
    """Serve until SIGTERM, with a project and a key of its own in `folder`."""
    loop = asyncio.get_running_loop()
    settings = load_settings({"store": store_url(folder), "port": port}, {})
    store = await open_store(settings.store, serve=True)
    project = await store.projects.create("default", now_us(), actor="bench")
    issued = issue_key(project.id, frozenset({Scope.INGEST}), name="bench", now_us=now_us())
    await store.projects.add_key(issued.key, actor="bench")
    (folder / KEY_FILE).write_text(issued.text)
    server = await Headrace.assemble(settings, cast("Store", AnswerOnlyStore(store, loop)))
    loop.add_signal_handler(signal.SIGTERM, server.ended.set)
    await server.start()
    await server.ended.wait()
    await server.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    uvloop.run(serve(given.folder, given.port))


if __name__ == "__main__":
    main()
