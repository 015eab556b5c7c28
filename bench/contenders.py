"""The contenders: how each is started, and the key it needs."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from bench.headrace_server import KEY_FILE, make_key, serving, wait_until_usable
from bench.load.wrk import LoadFailedError
from bench.processes import HOST, Server, free_port, running
from bench.stores import DATABASE, shared


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A running contender."""

    server: Server
    api_key: str
    #: Its database, for those that store something.
    database: Path | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.server.port

    def check_stored(self, acknowledged: int) -> None:
        """Check that a contender which stores has stored every acknowledged event.

        Raises:
            LoadFailedError: acknowledged events are missing, so its speed means nothing.
        """
        databases = shared()
        if self.database is None:
            return
        if self.database.name == DATABASE and databases is not None:
            name = databases.name(self.database.parent.resolve())
            [[stored]] = databases.server.run_sql(name, "SELECT count(*) FROM events")
            _check(acknowledged, int(stored))
            return
        reader = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            stored = int(str(reader.execute("SELECT count(*) FROM events").get))
        finally:
            reader.close()
        _check(acknowledged, stored)


def _check(acknowledged: int, stored: int) -> None:
    if stored < acknowledged:
        raise LoadFailedError(f"{acknowledged} events acknowledged, {stored} stored")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One implementation of `POST /events`."""

    name: str
    #: Starts it on an empty folder.
    start: Callable[[Path], AbstractContextManager[Running]]


@contextmanager
def fresh_folder(parent: Path, name: str) -> Iterator[Path]:
    """Make a folder for one server's files, removed afterwards."""
    folder = parent / f"{name}-{secrets.token_hex(4)}"
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        databases = shared()
        if databases is not None:
            databases.drop(folder.resolve())
        shutil.rmtree(folder)


@contextmanager
def headrace(folder: Path, command: str, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """The service, on the store in `folder`, which may be empty."""
    with serving(folder, command, env) as server:
        api_key = make_key(folder)
        wait_until_usable(server.port, api_key)
        yield Running(server=server, api_key=api_key, database=folder / DATABASE)


def headrace_api(folder: Path) -> AbstractContextManager[Running]:
    """Ingest alone: nothing processes what it accepts."""
    return headrace(folder, "api")


def headrace_serve(folder: Path) -> AbstractContextManager[Running]:
    """The service as its users start it: HTTP and a worker in one command."""
    return headrace(folder, "serve")


@contextmanager
def answer_only(folder: Path) -> Iterator[Running]:
    """The service's own code with a store that keeps nothing."""
    port = free_port()
    command = [sys.executable, "-m", "bench.answer_only", f"--folder={folder}", f"--port={port}"]
    log = folder / "server.log"
    with running(command, port=port, ready_path="/readyz", log=log, env={}) as server:
        yield Running(server=server, api_key=(folder / KEY_FILE).read_text())


@contextmanager
def fastapi_sqlite(folder: Path) -> Iterator[Running]:
    """The hand-written endpoint under one uvicorn process."""
    port, api_key = free_port(), secrets.token_hex(32)
    command = [sys.executable, "-m", "uvicorn", "--factory", f"--port={port}"]
    command += ["--no-access-log", "bench.baselines.fastapi_sqlite:create_app"]
    database = folder / "baseline.db"
    env = {"BASELINE_DB": str(database), "BASELINE_API_KEY": api_key}
    log = folder / "server.log"
    with running(command, port=port, ready_path="/readyz", log=log, env=env) as server:
        yield Running(server=server, api_key=api_key, database=database)


@contextmanager
def granian_rsgi(folder: Path) -> Iterator[Running]:
    """Decode and encode under granian, with its fastest interface."""
    port = free_port()
    command = [sys.executable, "-m", "granian", "--interface=rsgi", "--workers=1"]
    command += ["--loop=uvloop", f"--host={HOST}", f"--port={port}"]
    command += ["bench.baselines.decode_encode:rsgi"]
    log = folder / "server.log"
    with running(command, port=port, ready_path="/readyz", log=log, env={}) as server:
        yield Running(server=server, api_key="none")


@contextmanager
def uvicorn_asgi(folder: Path) -> Iterator[Running]:
    """Decode and encode under uvicorn, without a framework."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"--port={port}", "--no-access-log"]
    command += ["bench.baselines.decode_encode:asgi"]
    log = folder / "server.log"
    with running(command, port=port, ready_path="/readyz", log=log, env={}) as server:
        yield Running(server=server, api_key="none")


API = Contender(name="headrace api", start=headrace_api)
SERVE = Contender(name="headrace serve", start=headrace_serve)
ANSWER_ONLY = Contender(name="Headrace, only answering", start=answer_only)
FASTAPI_SQLITE = Contender(name="FastAPI + SQLite, by hand", start=fastapi_sqlite)
GRANIAN_RSGI = Contender(name="granian RSGI, nothing stored", start=granian_rsgi)
UVICORN_ASGI = Contender(name="uvicorn ASGI, nothing stored", start=uvicorn_asgi)
