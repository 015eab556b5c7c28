"""The destination of `--output`: a file, a link, a pipe or a device."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from headrace.cli.shared.failure import CommandFailed, usage
from headrace.private_files import replace_private

PARTIAL = ".partial"
_STANDARD_OUTPUT = 1
#: The kernel's limit on following symbolic links.
_LINKS_MAX = 40


@contextlib.contextmanager
def destination(output: Path | None) -> Iterator[IO[bytes]]:
    """The binary file to write to; None is standard output.

    - A plain or new file: readable by its owner only (0600), and it appears only when complete.
    - A symbolic link stays; its target is written as such a file.
    - A pipe or a device is written to directly. A named pipe waits for its reader.

    Raises:
        CommandFailed: it cannot be written.
    """
    if output is None:
        if sys.stdout is None:
            raise usage("Standard output is closed.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(os.path.realpath(output))
    try:
        descriptor = _existing(output)
        opened = _whole_file(path) if descriptor is None else os.fdopen(descriptor, "wb")
        with opened as file:
            yield file
    except OSError as error:
        if error.filename not in (None, str(output), str(path), f"{path}{PARTIAL}"):
            # The error is not about the output: reading the data failed.
            raise
        raise CommandFailed(f"{output} cannot be written: {error.strerror}") from None


def is_standard_output(output: Path) -> bool:
    """Whether the path names standard output: `/dev/stdout`, `/dev/fd/1`."""
    return _inherited(output) == _STANDARD_OUTPUT


def _existing(output: Path) -> int | None:
    """Descriptor of a target written to directly; None for a plain file or a new one."""
    inherited = _inherited(output)
    if inherited is not None:
        return os.dup(inherited)
    try:
        mode = output.stat().st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISREG(mode):
        return None
    return os.open(output, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)


def _inherited(output: Path) -> int | None:
    """Number of the open descriptor that the path names, such as 63 of `/dev/fd/63`.

    The descriptor itself is used: reopening a file by its path would write from its start.
    """
    own = os.path.realpath("/proc/self/fd")
    for _ in range(_LINKS_MAX):
        if output.name.isdecimal() and os.path.realpath(output.parent) == own:
            return int(output.name)
        if not output.is_symlink():
            break
        output = output.parent / output.readlink()
    return None


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[IO[bytes]]:
    partial = path.with_name(path.name + PARTIAL)
    descriptor = replace_private(partial)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
