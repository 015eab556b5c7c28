"""Running the server under strace, and reading what it wrote."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SYNC_CALLS = "fsync,fdatasync"

_LINE = re.compile(r"^(?:\[pid +)?(?P<pid>\d+)\]? +(?P<rest>.*)$")
_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\) += (?P<result>-?\d+|\?)(?P<error>.*)$")
_PATH = re.compile(r"^\d+<([^>]*)>")


@functools.cache
def why_not() -> str:
    """Why strace cannot trace here; empty when it can."""
    try:
        tried = subprocess.run(
            ["strace", "-f", "-e", "trace=none", "true"], capture_output=True, check=False
        )
    except FileNotFoundError:
        return "strace is not installed"
    return tried.stderr.decode(errors="replace").strip() if tried.returncode else ""


def needs_strace() -> None:
    """Skip the test, saying why, where processes may not be traced."""
    if reason := why_not():
        pytest.skip(f"strace cannot trace processes here: {reason}")


def inject(what: str, *, calls: str = SYNC_CALLS, log: Path | None = None) -> list[str]:
    """Command line that makes system calls of the server fail; counted for each thread.

    Args:
        what: such as `error=EIO:when=5`.
    """
    needs_strace()
    target = ["-o", str(log)] if log is not None else ["-o", "/dev/null"]
    shown = f"trace={calls},pwrite64,ftruncate" if log is not None else f"trace={calls}"
    inject_option = f"inject={calls}:{what}"
    # With a filter in the kernel only the chosen calls are slowed down, but no signal can be sent.
    quick = [] if what.startswith("signal=") else ["--seccomp-bpf"]
    return ["strace", "-f", "-y", *quick, *target, "-e", shown, "-e", inject_option, "--"]


def trace(calls: str, log: Path, *, bytes_shown: int = 64) -> list[str]:
    """Command line that records system calls of the server, with paths and raw bytes."""
    needs_strace()
    shown = ["-s", str(bytes_shown), "-xx", "-e", f"trace={calls}"]
    return ["strace", "-f", "-y", "--seccomp-bpf", "-o", str(log), *shown, "--"]


@dataclass(frozen=True)
class Call:
    """One finished system call."""

    name: str
    arguments: str
    #: None when it never returned.
    result: int | None
    error: str

    @property
    def path(self) -> str:
        """File or socket of the first argument."""
        found = _PATH.match(self.arguments)
        return bytes_of(found[1]).decode() if found else ""


def bytes_of(text: str) -> bytes:
    r"""Decode `\x41\x42` of strace; anything else is unchanged."""
    if "\\x" not in text:
        return text.encode()
    return bytes.fromhex(text.replace("\\x", ""))


def calls_of(log: Path) -> Iterator[Call]:
    """Calls in the order in which they returned, whichever thread made them."""
    unfinished: dict[str, str] = {}
    with log.open("r", encoding="latin-1") as lines:
        for line in lines:
            found = _LINE.match(line.rstrip("\n"))
            if found is None:
                continue
            pid, rest = found["pid"], found["rest"]
            if rest.endswith("<unfinished ...>"):
                unfinished[pid] = rest.removesuffix("<unfinished ...>").rstrip()
                continue
            if rest.startswith("<... "):
                rest = unfinished.pop(pid, "") + rest.partition("resumed>")[2]
            call = _CALL.match(rest)
            if call is not None:
                result = None if call["result"] == "?" else int(call["result"])
                yield Call(call["name"], call["arguments"], result, call["error"].strip())
