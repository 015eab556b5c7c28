"""A real `headrace serve` in its own process, on a free port and with its own store."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.forked_commands import can_fork, run_forked

#: The contract allows 10 s for a stop.
STOP_SECONDS_MAX = 12.0
COMMAND_SECONDS_MAX = 60.0
HEADRACE = (sys.executable, "-m", "headrace")


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment without Headrace settings, with `extra`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return kept | {"HEADRACE_DISK_FREE_MIN_BYTES": "0"} | dict(extra or {})


def headrace(
    *arguments: str,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
    umask: int = -1,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever its result; with the tests' umask unless given."""
    environment = clean_environment(env)
    if can_fork(environment, stdin):
        return run_forked(
            arguments,
            environment=environment,
            stdin=stdin,
            cwd=cwd,
            umask=umask,
            timeout_s=COMMAND_SECONDS_MAX,
        )
    return subprocess.run(
        [*HEADRACE, *arguments],
        env=environment,
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        umask=umask,
        timeout=COMMAND_SECONDS_MAX,
    )


@dataclass
class RunningServer:
    """The process and its connection data; created by `running_server`."""

    directory: Path
    env: Mapping[str, str]
    args: Sequence[str]
    #: Address of a shared store, used instead of one in the folder.
    store: str = ""
    #: Of the process; that of the tests when negative.
    umask: int = -1
    url: str = ""
    #: From the first start; later starts create none.
    key: str = ""
    #: Announcement of the last start.
    announced: dict[str, Any] = field(default_factory=dict)

    @property
    def store_path(self) -> Path:
        return self.directory / "headrace.db"

    @property
    def store_url(self) -> str:
        return self.store or f"sqlite:///{self.store_path}"

    @property
    def log_path(self) -> Path:
        return self.directory / "server.log"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def start(self) -> None:
        """Start and wait for the ready line, which is printed once the socket listens."""
        port = str(self.port) if self.url else "0"
        command = [*HEADRACE, "serve", "--json", "--port", port, "--store", self.store_url]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self.args],
                env=clean_environment(self.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                umask=self.umask,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the server did not start: {self.log_path.read_text('utf-8')}"
        self.announced = json.loads(line)
        self.url = self.announced["url"]
        self.key = self.key or self.announced["key"] or ""

    def kill(self) -> int:
        """Kill it as a power failure would; returns the exit status."""
        return self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Stop it gracefully; returns the exit status."""
        return self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Start again on the same store and port, after a graceful stop if it still runs."""
        self.terminate()
        self.start()

    def _end(self, number: signal.Signals) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS_MAX)
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def ask(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Send a request with `key`, else with the first key; returns the decoded response.

        Raises:
            urllib.error.HTTPError: the response is no success.
        """
        request = urllib.request.Request(  # noqa: S310 - the scheme is the server's own
            self.url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {key or self.key}",
                "Content-Type": "application/json",
            },
        )
        with urllib.request.urlopen(request, timeout=COMMAND_SECONDS_MAX) as answer:  # noqa: S310
            return json.load(answer)


@contextmanager
def running_server(
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    store: str = "",
) -> Iterator[RunningServer]:
    """A server, stopped gracefully when the block ends.

    Args:
        store: address of a shared store; without one it is in `directory`.
    """
    server = RunningServer(directory, env or {}, args, store)
    server.start()
    try:
        yield server
    finally:
        server.terminate()
