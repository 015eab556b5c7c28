"""Describes the machine, for the context of the figures."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import apsw

PROBE_BYTES = 64 * 1024
PROBE_S = 1.0
#: In memory only: fsync on them is free and proves nothing.
VOLATILE_FILESYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def describe(folder: Path) -> dict[str, str]:
    """Return what the figures depend on; `folder` is where the stores of the run are."""
    return {
        "CPU": _field(Path("/proc/cpuinfo"), "model name"),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{_memory_bytes() / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "filesystem": filesystem(folder),
        "fdatasync of 64 KiB": f"{fdatasync_per_second(folder):,.0f}/s",
        "load before the run": f"{os.getloadavg()[0]:.2f}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": apsw.sqlite_lib_version(),
        "commit": commit(),
    }


def filesystem(folder: Path) -> str:
    """Return the type of the filesystem that holds `folder`."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    resolved = folder.resolve()
    holding = [(len(at), kind) for at, kind in mounts if resolved.is_relative_to(at)]
    return max(holding)[1]


def commit() -> str:
    """Return the commit of the work tree, marked when files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def fdatasync_per_second(folder: Path) -> float:
    """Write and sync blocks for a second: what the disk allows one waiting writer."""
    block = os.urandom(PROBE_BYTES)
    path = folder / "fdatasync.probe"
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    count, started = 0, time.perf_counter()
    try:
        while (elapsed := time.perf_counter() - started) < PROBE_S:
            os.pwrite(handle, block, (count % 64) * PROBE_BYTES)
            os.fdatasync(handle)
            count += 1
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            path.unlink()
    return count / elapsed


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
