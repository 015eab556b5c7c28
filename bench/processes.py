"""Starts a server, waits until it responds, reads its resource use, and stops it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
READY_WITHIN_S = 30.0
STOPPED_WITHIN_S = 15.0
POLL_S = 0.005
LOG_TAIL_CHARACTERS = 2_000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ServerFailedError(RuntimeError):
    """A server did not come up, or stopped while it was measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Of all processes of a server together, in bytes."""

    #: Counts a page once for every process that maps it.
    rss_bytes: int
    #: Splits a shared page evenly over the processes that map it.
    pss_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A running server on the loopback interface."""

    pid: int
    port: int
    #: From the spawn to the first 200 on the requested path.
    ready_after_s: float

    def cpu_s(self) -> float:
        """Return processor time used so far, in user and system mode, by all its processes."""
        return cpu_s(self.pid)

    def memory(self) -> Memory:
        """Read the memory of all its processes."""
        rss, pss = 0, 0
        for pid in process_tree(self.pid):
            fields = _smaps(pid)
            rss += fields.get("Rss", 0)
            pss += fields.get("Pss", 0)
        return Memory(rss_bytes=rss, pss_bytes=pss)


@contextmanager
def running(
    command: Sequence[str], *, port: int, ready_path: str, log: Path, env: Mapping[str, str]
) -> Iterator[Server]:
    """Run `command` until the block ends; its output goes to `log`.

    Raises:
        ServerFailedError: `ready_path` did not return 200 in time.
    """
    started = time.perf_counter()
    process = _spawn(command, log, env)
    try:
        _wait_until_ready(process, port, ready_path, log)
        yield Server(pid=process.pid, port=port, ready_after_s=time.perf_counter() - started)
        if process.poll() is not None:
            raise ServerFailedError(f"stopped while measured: {_tail(log)}")
    finally:
        _stop(process)


@contextmanager
def background(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run `command`, which does not listen, until the block ends; yields its process id.

    Raises:
        ServerFailedError: it ended by itself.
    """
    process = _spawn(command, log, env or {})
    try:
        yield process.pid
        if process.poll() is not None:
            raise ServerFailedError(f"stopped while measured: {_tail(log)}")
    finally:
        _stop(process)


def _spawn(command: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            start_new_session=True,
        )


def free_port() -> int:
    """Return a port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def status_of(port: int, request: bytes) -> int | None:
    """Send one whole request and return the status of its response, None without one."""
    with suppress(OSError), socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(request)
        first = connection.recv(4096)
        if first.startswith(b"HTTP/1.1 "):
            return int(first[9:12])
    return None


def cpu_s(root: int) -> float:
    """Return processor time, in seconds, that `root` and its descendants have used so far."""
    return sum(_cpu_s(pid) for pid in process_tree(root))


def process_tree(root: int) -> list[int]:
    """Return `root` and every process that descends from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    tree = [root]
    for pid in tree:
        tree.extend(children.get(pid, ()))
    return tree


def tree_cpu_s(root: int) -> float:
    """Return processor time of `root`, its descendants, and its children that have ended."""
    ended = _stat(root)
    of_ended = (int(ended[13]) + int(ended[14])) / TICKS_PER_S if ended else 0.0
    return of_ended + sum(_cpu_s(pid) for pid in process_tree(root))


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, path: str, log: Path) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    give_up = time.perf_counter() + READY_WITHIN_S
    while status_of(port, request) != 200:
        if process.poll() is not None:
            raise ServerFailedError(f"exit status {process.returncode}: {_tail(log)}")
        if time.perf_counter() > give_up:
            raise ServerFailedError(f"no 200 on {path} in {READY_WITHIN_S} s: {_tail(log)}")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server's session: by SIGTERM first, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            if number == signal.SIGTERM:
                process.send_signal(number)
            else:
                os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPED_WITHIN_S)


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:].strip()


def _stat(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat that follow the command's name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _smaps(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError):
        return {}
    split = (line.split() for line in lines)
    return {fields[0].rstrip(":"): int(fields[1]) * 1024 for fields in split}
