"""A temporary server for an import when none runs, so that it uses the same API."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from headrace.cli.shared.failure import CommandFailed
from headrace.cli.shared.stores import ACTOR, find_project
from headrace.config import Settings
from headrace.domain.access.api_keys import IssuedKey, Scope, issue_key

if TYPE_CHECKING:
    from headrace.store.store import Store

KEY_NAME = "import from the command line"
#: A killed import cannot revoke its key, so the key expires.
KEY_LIFE_US = 7 * 86400 * 1_000_000


@contextmanager
def local_server(settings: Settings, project: str, scope: str) -> Iterator[tuple[str, str]]:
    """`(address, key)` of a server on the configured store, on a free port of this machine.

    Raises:
        StoreSetupError: the store does not exist, or a server uses it.
    """
    server = _LocalServer(
        msgspec.structs.replace(settings, host="127.0.0.1", port=0), project, Scope(scope)
    )
    server.start()
    try:
        yield f"http://127.0.0.1:{server.port}", server.key
    finally:
        server.stop()


class _LocalServer:
    """Runs in a thread, so that the command can call it like any other server."""

    def __init__(self, settings: Settings, project: str, scope: Scope) -> None:
        self._scope = scope
        self._settings = settings
        self._project = project
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="headrace-import")
        self.port = 0
        self.key = ""

    def start(self) -> None:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        import uvloop

        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._run())
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
            self._failure = error
        finally:
            self._started.set()

    async def _run(self) -> None:
        from headrace.app import Headrace
        from headrace.stores import open_configured

        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        store = await open_configured(self._settings, serve=True, create=False)
        try:
            issued = await self._issue_key(store)
            server = await Headrace.assemble(self._settings, store, ended=self._ended)
            await server.start()
        except BaseException:
            await store.close()
            raise
        self.port, self.key = server.port, issued.text
        self._started.set()
        await self._ended.wait()
        if server.failure is None:
            await store.projects.revoke_key(issued.key.public_id, store.clock_us(), actor=ACTOR)
        await server.stop()
        if server.failure is not None:
            raise CommandFailed(f"The store failed: {server.failure}. Check the disk.")

    async def _issue_key(self, store: Store) -> IssuedKey:
        project = await find_project(store, self._project)
        at_us = store.clock_us()
        scopes = frozenset({self._scope})
        issued = issue_key(
            project.id, scopes, name=KEY_NAME, now_us=at_us, expires_us=at_us + KEY_LIFE_US
        )
        await store.projects.add_key(issued.key, actor=ACTOR)
        return issued
