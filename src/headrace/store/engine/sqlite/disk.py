"""Free disk space, and a reserve for when it runs out."""

from __future__ import annotations

import os
from pathlib import Path

from headrace.private_files import open_private
from headrace.store.engine.sqlite.files import RESERVE, file_beside

#: Released when the disk is full, so that retention can still write and free space.
RESERVE_BYTES = 16 * 1024 * 1024


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write to the file system of `path`."""
    stats = os.statvfs(path.parent)
    return stats.f_bavail * stats.f_frsize


class DiskReserve:
    """A file that only reserves space; taken by the server, released by any process."""

    def __init__(self, database: Path) -> None:
        self._path = file_beside(database, RESERVE)
        self.take()

    @property
    def held(self) -> bool:
        """Whether the space is reserved."""
        return self._path.exists()

    def take(self) -> bool:
        """Reserve the space if four times as much is free; returns whether it is held now."""
        if self.held:
            return True
        if free_bytes(self._path) < 4 * RESERVE_BYTES:
            return False
        descriptor = open_private(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
        except OSError:
            self._path.unlink(missing_ok=True)
            return False
        finally:
            os.close(descriptor)
        return True

    def give_back(self) -> None:
        """Let the store use the space."""
        self._path.unlink(missing_ok=True)
