"""Starts the service as its users do, and makes a key for the load."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.load.template import KEY, KEY_DIGITS, USER, USER_DIGITS, single
from bench.processes import (
    HOST,
    Server,
    ServerFailedError,
    background,
    free_port,
    running,
    status_of,
)
from bench.stores import store_url

#: Where the server that only responds leaves its key for its parent process.
KEY_FILE = "api.key"
#: Keys made by another process are effective within 5 s.
KEY_USABLE_WITHIN_S = 10.0
POLL_S = 0.05
#: An idempotency key; zeros alone would be rejected as an unset variable.
_KEY = f"{0x0123456789ABCDEF:0{KEY_DIGITS}x}"


def headrace(*arguments: str) -> list[str]:
    """Return a command line of the `headrace` installed beside this Python."""
    return [str(Path(sys.executable).with_name("headrace")), *arguments]


@contextmanager
def serving(
    folder: Path, command: str = "serve", env: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run `headrace serve`, or `api` alone, on the store in `folder` until the block ends."""
    port = free_port()
    line = headrace(command, f"--host={HOST}", f"--port={port}", f"--store={store_url(folder)}")
    log = folder / "server.log"
    with running(line, port=port, ready_path="/readyz", log=log, env=env or {}) as server:
        yield server


@contextmanager
def working(folder: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run one `headrace worker` on the store in `folder` until the block ends; yields its pid."""
    line = headrace("worker", f"--store={store_url(folder)}")
    with background(line, log=folder / "worker.log", env=env) as pid:
        yield pid


def set_policy(folder: Path, name: str, value: str) -> None:
    """Change a policy of the default project."""
    line = headrace("policy", "set", name, value, "--project=default")
    line += ["--json", f"--store={store_url(folder)}"]
    subprocess.run(line, stdout=subprocess.DEVNULL, check=True, timeout=30)


def make_key(folder: Path) -> str:
    """Make an API key of the default project, which the first start has made."""
    line = headrace("key", "create", "--project=default")
    line += [f"--scope={scope}" for scope in ("ingest", "read", "manage")]
    line += ["--json", f"--store={store_url(folder)}"]
    done = subprocess.run(line, stdout=subprocess.PIPE, check=True, timeout=30)
    key: str = json.loads(done.stdout)["key"]
    return key


def wait_until_usable(port: int, api_key: str) -> None:
    """Return once the server accepts the key.

    Raises:
        ServerFailedError: it never did.
    """
    text = single(port, api_key).text.replace("/events ", "/events/validate ")
    request = text.replace(USER, "0" * USER_DIGITS).replace(KEY, _KEY).encode()
    give_up = time.perf_counter() + KEY_USABLE_WITHIN_S
    while (status := status_of(port, request)) not in {200, 202}:
        if time.perf_counter() > give_up:
            raise ServerFailedError(f"a new API key is answered {status}")
        time.sleep(POLL_S)
