"""One import: reads lines, sends batches, keeps counts and rejections."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from headrace.cli.importing.kinds import EVENTS, Kind
from headrace.cli.importing.lines import LINE_BYTES_MAX, Line, with_key
from headrace.cli.importing.sender import Decision, Sender
from headrace.cli.importing.state import State
from headrace.private_files import open_private

_TOO_LONG = Decision(0, "LineTooLong", f"is longer than {LINE_BYTES_MAX} bytes")


class RejectedLines:
    """`FILE.rejected.ndjson`: line number, reason and line; created on the first rejection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def reset(self, keep_bytes: int) -> None:
        """Drop rejections of a batch that was interrupted before its state was saved."""
        with contextlib.suppress(FileNotFoundError):
            if keep_bytes == 0:
                self.path.unlink()
                return
            with os.fdopen(open_private(self.path, os.O_RDWR), "r+b") as file:
                file.truncate(keep_bytes)

    def add(self, rejected: list[tuple[Line, Decision]]) -> int:
        """Append rejections; returns the length of the file."""
        descriptor = open_private(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with os.fdopen(descriptor, "ab") as file:
            for line, decision in rejected:
                file.write(msgspec.json.encode(_rejection(line, decision)) + b"\n")
            return file.tell()


def _rejection(line: Line, decision: Decision) -> dict[str, str | int]:
    return {
        "line": line.number,
        "status": decision.status,
        "code": decision.code,
        "reason": decision.reason,
        "text": (line.text if line.sent is None else line.sent).decode("utf-8", "backslashreplace"),
    }


class ImportJob:
    """Sends lines and records the decision about each.

    Args:
        kind: what the lines are.
        key_prefix: of the idempotency keys given to lines without one.
        save: called with the state after every batch.
    """

    def __init__(
        self,
        sender: Sender,
        state: State,
        rejections: RejectedLines,
        *,
        kind: Kind = EVENTS,
        key_prefix: str,
        save: Callable[[State], None],
    ) -> None:
        self._sender = sender
        self._state = state
        self._rejections = rejections
        self._kind = kind
        self._key_prefix = key_prefix
        self._save = save

    def run(self, lines: Iterable[Line], advanced: Callable[[State], None]) -> None:
        """Send all lines; calls `advanced` after every batch."""
        for batch in batches(lines, self._kind):
            self._send(batch)
            advanced(self._state)

    def _send(self, batch: list[Line]) -> None:
        state = self._state
        rejected_here = [_rejected_here(line) for line in batch]
        texts = [
            self._text(line)
            for line, rejection in zip(batch, rejected_here, strict=True)
            if rejection is None
        ]
        decisions = iter(self._sender.send(texts))
        rejected = []
        for line, rejection in zip(batch, rejected_here, strict=True):
            decision = rejection or next(decisions)
            self._count(decision)
            if decision.code:
                rejected.append((line, decision))
        if rejected:
            state.rejected_bytes = self._rejections.add(rejected)
        state.line, state.offset = batch[-1].last_number, batch[-1].end
        self._save(state)

    def _text(self, line: Line) -> bytes:
        if not self._kind.keyed:
            return line.text
        return with_key(line.text, f"{self._key_prefix}:{line.number}")

    def _count(self, decision: Decision) -> None:
        self._state.decided += 1
        counts = self._state.counts
        names = [self._kind.count(decision)]
        if decision.mismatch:
            names.append("mismatched")
        for name in names:
            counts[name] = counts.get(name, 0) + 1


def _rejected_here(line: Line) -> Decision | None:
    """The decision about a line that need not be sent."""
    if line.too_long:
        return _TOO_LONG
    return Decision(0, "InvalidLine", line.problem) if line.problem else None


def batches(lines: Iterable[Line], kind: Kind = EVENTS) -> Iterator[list[Line]]:
    """Group lines into batches, limited by number and size."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        # One byte joins each line to the next.
        if batch and (
            len(batch) == kind.batch_lines or size + len(line.text) + 1 > kind.batch_bytes
        ):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.text) + 1
    if batch:
        yield batch
