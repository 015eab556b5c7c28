"""What a disk holds after the power fails, rebuilt from the system calls of the server.

Only what an fsync covered is certain. Of what was written later, any part may have reached the
disk: a cut keeps a random subset of those writes, each whole or torn at a sector.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.strace import Call, bytes_of, calls_of

#: System calls that change files of the store, and those that send responses.
TRACED = "pwrite64,ftruncate,fsync,fdatasync,unlink,write,writev,sendto,sendmsg"
SECTOR_BYTES = 512

_WRITE = re.compile(r'^\d+<[^>]*>, "(?P<data>(?:\\x[0-9a-f]{2})*)", (?P<count>\d+), (?P<at>\d+)')
_TRUNCATE = re.compile(r"^\d+<[^>]*>, (?P<length>\d+)")
_ACCEPTED = b"HTTP/1.1 202"


@dataclass
class _Change:
    """One write, or one change of length (`data` is None)."""

    at: int
    data: bytes | None


@dataclass
class _File:
    durable: bytearray
    pending: list[_Change] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change, None)
        self.pending.clear()

    def after_cut(self, rng: random.Random | None) -> bytes:
        """Contents after a cut; without `rng` nothing unsynced survives."""
        contents = bytearray(self.durable)
        for change in self.pending:
            if rng is not None and rng.random() < 0.5:
                _apply(contents, change, rng)
        return bytes(contents)


def _apply(contents: bytearray, change: _Change, rng: random.Random | None) -> None:
    if change.data is None:
        del contents[change.at :]
        contents.extend(bytes(change.at - len(contents)))
        return
    data = change.data
    if rng is not None and rng.random() < 0.3:
        data = data[: rng.randrange(0, len(data) + 1) // SECTOR_BYTES * SECTOR_BYTES]
    contents.extend(bytes(max(0, change.at - len(contents))))
    contents[change.at : change.at + len(data)] = data


class Disk:
    """The files of one store as the disk holds them."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._files = {str(database): _File(bytearray(database.read_bytes()))}

    def replay(self, log: Path) -> Iterator[int]:
        """Repeat what the server did; yields the number of events acknowledged at each response."""
        acknowledged = 0
        for call in calls_of(log):
            if call.result is None or call.result < 0:
                continue
            if _ACCEPTED in _answer(call):
                acknowledged += 1
                yield acknowledged
            elif call.path.startswith(str(self._database)):
                self._change(call)

    def _change(self, call: Call) -> None:
        file = self._files.setdefault(call.path, _File(bytearray()))
        if call.name in ("fsync", "fdatasync"):
            file.sync()
        elif found := _WRITE.match(call.arguments):
            assert call.name == "pwrite64"
            data = bytes_of(found["data"])
            assert len(data) == call.result == int(found["count"])
            file.pending.append(_Change(int(found["at"]), data))
        elif call.name == "ftruncate" and (found := _TRUNCATE.match(call.arguments)):
            file.pending.append(_Change(int(found["length"]), None))

    def cut(self, folder: Path, rng: random.Random | None) -> Path:
        """Write what remains into a folder; returns the database there."""
        folder.mkdir()
        for path, file in self._files.items():
            # The index of the log lives in memory only.
            if not path.endswith("-shm"):
                (folder / Path(path).name).write_bytes(file.after_cut(rng))
        return folder / self._database.name


def _answer(call: Call) -> bytes:
    if call.name == "pwrite64" or '"' not in call.arguments:
        return b""
    return bytes_of(call.arguments.partition('"')[2].partition('"')[0])
