"""Runs `headrace` commands in processes forked from one that has imported Headrace.

Importing takes most of the time of a short command, and the tests run thousands of them. A command
has a process, an environment, a folder and file descriptors of its own, as if it had been started.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

#: Names of variables that are read by the interpreter when it starts, or by Headrace when it is
#: imported; a fork would not see a change.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC", "HEADRACE_FAIL_POINT")


#: What a pipe takes before anybody reads it.
_PIPE_BYTES = 65_536


def can_fork(environment: Mapping[str, str], stdin: str | None) -> bool:
    """Whether a forked process would behave like a started one in this environment."""
    fits = len((stdin or "").encode()) <= _PIPE_BYTES
    return fits and _read_at_start(environment) == _read_at_start(os.environ)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    found = environment.items()
    return {name: value for name, value in found if name.startswith(_READ_AT_START)}


def run_forked(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    stdin: str | None,
    cwd: Path | None,
    umask: int,
    timeout_s: float,
) -> subprocess.CompletedProcess[str]:
    """Run `headrace` with these arguments to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "cwd": str(cwd or Path.cwd()),
        "umask": umask,
    }
    with (
        _input(stdin) as given,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection,
    ):
        connection.settimeout(timeout_s)
        connection.connect(_server())
        files = [each.fileno() for each in (given, out, err)]
        socket.send_fds(connection, [json.dumps(request).encode()], files)
        pid = int(connection.recv(64))
        try:
            ended = connection.recv(64)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout_s) from None
        for each in (out, err):
            each.seek(0)
        said, errors = (each.read().decode() for each in (out, err))
    return subprocess.CompletedProcess(list(arguments), int(ended), said, errors)


def _input(text: str | None) -> IO[bytes]:
    """A pipe with the text and its end; without a text, the empty device."""
    if text is None:
        return Path(os.devnull).open("rb")
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as given:
        given.write(text.encode())
    return os.fdopen(reading, "rb")


@functools.cache
def _server() -> str:
    """The address of this test process's server, which ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="commands")
    address = str(Path(folder.name) / "commands")
    reading, writing = os.pipe()
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.support.command_server", address, str(writing)],
        pass_fds=[writing],
        stdin=subprocess.PIPE,
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as ready:
        assert ready.read() == b"ready", "the server of commands did not start"

    def end() -> None:
        server.kill()
        server.communicate()
        folder.cleanup()

    atexit.register(end)
    return address
