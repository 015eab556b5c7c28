"""A real `headrace serve` for the HTTP tests, with projects and keys created before it starts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from headrace.domain.access.api_keys import Scope, issue_key
from headrace.domain.timestamps import now_us
from headrace.store.store import Store
from headrace.stores import open_store
from tests.support.raw_http import Client

T = TypeVar("T")

ACTOR = "test"
ALL_SCOPES = frozenset(Scope)
#: Unused projects, for tests that need one of their own.
PROJECTS_READY = 1200


@dataclass
class Project:
    """One project, and clients with its keys."""

    id: int
    port: int
    #: A key with every scope.
    key: str
    clients: list[Client] = field(default_factory=list)

    def client(self, key: str | None = None) -> Client:
        client = Client(self.port, key or self.key)
        self.clients.append(client)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()


@dataclass
class HttpServer:
    """The process, its store and its log."""

    directory: Path
    extra_environment: dict[str, str] = field(default_factory=dict)
    #: Address of a shared store, used instead of one in the folder.
    shared_url: str = ""
    command: str = "serve"
    port: int = 0
    projects: list[tuple[int, str]] = field(default_factory=list)

    @property
    def store_url(self) -> str:
        return self.shared_url or f"sqlite:///{self.directory / 'headrace.db'}"

    def start(self, projects: int = PROJECTS_READY) -> None:
        if projects:
            self.projects = self.in_store(lambda store: _make_projects(store, projects))
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HEADRACE_")}
        environment |= {"HEADRACE_LOG_FORMAT": "json", "HEADRACE_DISK_FREE_MIN_BYTES": "0"}
        command = [sys.executable, "-m", "headrace", self.command, "--json", "--port", "0"]
        with (self.directory / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--store", self.store_url],
                env=environment | self.extra_environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log_text()
        self.port = int(json.loads(line)["url"].rpartition(":")[2])

    def stop(self) -> int:
        """Ask it to stop; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        finally:
            self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def project(self) -> Project:
        """An unused project."""
        project_id, key = self.projects.pop()
        return Project(project_id, self.port, key)

    def in_store(self, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
        """Run `work` on the server's store from this process, as the command line does."""

        async def run() -> T:
            store = await open_store(self.store_url, serve=False)
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())

    def issue_key(
        self,
        project: Project,
        scopes: Iterable[Scope] = ALL_SCOPES,
        *,
        expires_us: int | None = None,
    ) -> str:
        """Create a key; the server knows it within seconds, see `wait_until`."""
        issued = issue_key(
            project.id, frozenset(scopes), name="extra", now_us=now_us(), expires_us=expires_us
        )
        self.in_store(lambda store: store.projects.add_key(issued.key, actor=ACTOR))
        return issued.text

    def set_policy(self, project: Project, name: str, value: Any) -> None:
        self.in_store(
            lambda store: store.projects.set_policy(project.id, name, value, now_us(), actor=ACTOR)
        )

    def resident_bytes(self, *, peak: bool = False) -> int:
        """Memory of the process, as reported by the kernel."""
        wanted = "VmHWM:" if peak else "VmRSS:"
        status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        return next(int(x.split()[1]) * 1024 for x in status.splitlines() if x.startswith(wanted))

    def log_text(self) -> str:
        return (self.directory / "server.log").read_text("utf-8")


async def _make_projects(store: Store, count: int) -> list[tuple[int, str]]:
    made = []
    for number in range(count):
        project = await store.projects.create(f"project {number}", now_us(), actor=ACTOR)
        issued = issue_key(project.id, ALL_SCOPES, name="all", now_us=now_us())
        await store.projects.add_key(issued.key, actor=ACTOR)
        made.append((project.id, issued.text))
    return made


def wait_until(found: Callable[[], bool], timeout_s: float) -> float:
    """Repeat `found` until it is true; returns the seconds it took.

    `found` sends a request to the server, which paces the loop, so there is no sleep in it.
    """
    started = time.monotonic()
    while not found():
        assert time.monotonic() - started < timeout_s, "it did not happen in time"
    return time.monotonic() - started
