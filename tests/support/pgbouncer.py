"""A real PgBouncer in transaction mode before a server of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.waiting import wait_until

#: Fewer sessions than the processes have connections, so that they are really shared.
SESSIONS = 6
_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
"""


@contextmanager
def pgbouncer(server: PostgresServer, folder: Path) -> Iterator[int]:
    """Its port while it runs."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed (make system-packages)")
    port = free_port()
    configuration = folder / "pgbouncer.ini"
    text = _CONFIGURATION.format(server=server.port, port=port, sessions=SESSIONS)
    configuration.write_text(text, "ascii")
    # It does not run as root; its user must be able to read its files.
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *as_user, str(configuration)], stdout=log, stderr=log, cwd=folder
        )
    try:
        wait_until(lambda: _listens(port, process), "PgBouncer listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "PgBouncer ended"
    with socket.socket() as asker:
        return asker.connect_ex(("127.0.0.1", port)) == 0
