"""One import: lines in, batches out, counts and refusals kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from headrace.cli.importing.lines import LINE_BYTES_MAX, Line, with_key
from headrace.cli.importing.sender import Decision, Sender
from headrace.cli.importing.state import State

BATCH_EVENTS = 500
#: Below the 5 MiB of the server, with room for the keys that are added.
BATCH_BYTES = 4 * 1024 * 1024

_TOO_LONG = Decision(0, "LineTooLong", f"is longer than {LINE_BYTES_MAX} bytes")


class Refusals:
    """`FILE.rejected.ndjson`: line number, reason and the line; made at the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def reset(self, keep_bytes: int) -> None:
        """Drop what a batch wrote that was interrupted before its state was saved."""
        with contextlib.suppress(FileNotFoundError):
            if keep_bytes == 0:
                self.path.unlink()
                return
            with self.path.open("r+b") as file:
                file.truncate(keep_bytes)

    def add(self, refused: list[tuple[Line, Decision]]) -> int:
        """Append these; returns the length of the file."""
        with self.path.open("ab") as file:
            for line, decision in refused:
                file.write(msgspec.json.encode(_refusal(line, decision)) + b"\n")
            return file.tell()


def _refusal(line: Line, decision: Decision) -> dict[str, str | int]:
    return {
        "line": line.number,
        "status": decision.status,
        "code": decision.code,
        "reason": decision.reason,
        "text": line.text.decode("utf-8", "backslashreplace"),
    }


class ImportJob:
    """Takes lines to their decisions.

    Args:
        key_prefix: start of the idempotency keys of lines that have none.
        save: called with the state after every batch.
    """

    def __init__(
        self,
        sender: Sender,
        state: State,
        refusals: Refusals,
        *,
        key_prefix: str,
        save: Callable[[State], None],
    ) -> None:
        self._sender = sender
        self._state = state
        self._refusals = refusals
        self._key_prefix = key_prefix
        self._save = save

    def run(self, lines: Iterable[Line], advanced: Callable[[State], None]) -> None:
        """Send all lines; `advanced` is told after every batch."""
        for batch in batches(lines):
            self._send(batch)
            advanced(self._state)

    def _send(self, batch: list[Line]) -> None:
        state = self._state
        sent = [line for line in batch if not line.too_long]
        texts = [with_key(line.text, f"{self._key_prefix}:{line.number}") for line in sent]
        answers = iter(self._sender.send(texts))
        refused = []
        for line in batch:
            decision = _TOO_LONG if line.too_long else next(answers)
            self._count(decision)
            if decision.code:
                refused.append((line, decision))
        if refused:
            state.rejected_bytes = self._refusals.add(refused)
        state.line, state.offset = batch[-1].number, batch[-1].end
        self._save(state)

    def _count(self, decision: Decision) -> None:
        counts = self._state.counts
        if decision.code:
            counts.rejected += 1
        elif decision.status == 202:
            counts.accepted += 1
        else:
            counts.deduplicated += 1
            counts.mismatched += decision.mismatch


def batches(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Group lines by number and size."""
    batch: list[Line] = []
    size = 0
    for line in lines:
        if batch and (len(batch) == BATCH_EVENTS or size + len(line.text) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.text)
    if batch:
        yield batch
