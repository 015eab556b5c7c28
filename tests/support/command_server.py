"""The process that `forked_commands` forks `headrace` commands from."""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from headrace.cli import application

_REQUEST_BYTES_MAX = 262_144


def serve(address: str, ready: int) -> NoReturn:
    """Fork a process for each request, until the test process ends."""
    parent = os.getppid()
    # The processes that wait for commands leave nothing behind.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(address)
    listening.listen(16)
    listening.settimeout(1.0)
    os.write(ready, b"ready")
    os.close(ready)
    while os.getppid() == parent:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        if not os.fork():
            listening.close()
            _wait_for_command(connection)
        connection.close()
    os._exit(0)


def _wait_for_command(connection: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    connection.settimeout(None)
    text, files, _, _ = socket.recv_fds(connection, _REQUEST_BYTES_MAX, 3)
    pid = os.fork()
    if not pid:
        connection.close()
        _run_command(json.loads(text), files)
    connection.send(str(pid).encode())
    _, status = os.waitpid(pid, 0)
    connection.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _run_command(request: dict[str, Any], files: Sequence[int]) -> NoReturn:
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    if request["umask"] >= 0:
        os.umask(request["umask"])
    sys.argv = ["headrace", *request["arguments"]]
    status = 1
    try:
        application.run()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001 - shown as the interpreter does at its end
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
