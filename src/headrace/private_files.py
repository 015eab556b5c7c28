"""Files and folders only for their owner: mode 0600 and 0700, whatever the umask.

A file gets its mode in the call that creates it. Afterwards a mode is only narrowed, or the owner's
rights that a strict umask removed are restored, so others can read it at no moment. The umask
itself is not changed: it belongs to the whole process, its threads and its children.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077
#: A symbolic link at the end of the path is rejected: another user may have put it there.
_SAFELY = os.O_CLOEXEC | os.O_NOFOLLOW


def create_private(path: Path) -> int:
    """Create a new file and open it for writing; returns the descriptor.

    Raises:
        FileExistsError: the path exists, even as a dangling symbolic link.
        OSError: it cannot be created.
    """
    return open_private(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def replace_private(path: Path) -> int:
    """As `create_private`, but an existing file is removed first, not written to.

    Raises:
        OSError: it cannot be removed or created.
    """
    path.unlink(missing_ok=True)
    return create_private(path)


def open_private(path: Path, flags: int) -> int:
    """Open a file and remove other users' access to it; returns the descriptor.

    A file that belongs to another user keeps its mode, see `open_to_others`.

    Args:
        flags: of open(2); with `O_CREAT` the file is created if it does not exist.

    Raises:
        OSError: it cannot be opened, or is a symbolic link.
    """
    descriptor = os.open(path, flags | _SAFELY, FILE_MODE)
    if _mode(os.fstat(descriptor)) != FILE_MODE:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, FILE_MODE)
    return descriptor


def create_private_folder(folder: Path) -> None:
    """Create a folder and missing parents; existing ones are not changed.

    Raises:
        OSError: one cannot be created.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        try:
            each.mkdir(FOLDER_MODE)
        except FileExistsError:
            if not each.is_dir():
                raise
        else:
            if _mode(each.stat()) & FOLDER_MODE != FOLDER_MODE:
                each.chmod(FOLDER_MODE)


def make_private(path: Path) -> None:
    """Remove other users' access to a plain file, if it exists and may be changed.

    The file is not opened: closing any descriptor of a database drops its locks.
    """
    if open_to_others(path):
        with contextlib.suppress(OSError):
            path.chmod(_mode(path.lstat()) & FILE_MODE)


def open_to_others(path: Path) -> bool:
    """Whether it is a plain file that its group or all users may read, write or run."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and bool(found.st_mode & _OTHERS)


def shown_mode(path: Path) -> str:
    """The mode in the form of `chmod`, such as `0644`."""
    return f"{_mode(path.lstat()):04o}"


def _mode(found: os.stat_result) -> int:
    return stat.S_IMODE(found.st_mode)
