"""One copy from beginning to end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from headrace.store.contract.errors import StoreError
from headrace.store.transfer.checksum import Checksum
from headrace.store.transfer.plan import COPIED, TableCopy
from headrace.store.transfer.source import Source
from headrace.store.transfer.target import CopyState, Target

#: Rows of one transaction, and characters of their values.
BATCH_ROWS = 2_000
BATCH_CHARACTERS = 4 * 1024 * 1024

#: Called with how much is done, out of how much, and the current step.
Progress = Callable[[int, int, str], None]


class CopyDifferenceError(StoreError):
    """Source and target differ; the message names the tables."""


class Report(msgspec.Struct, frozen=True):
    """What was copied; every table was compared."""

    #: Table -> what both stores hold.
    tables: dict[str, Checksum]

    @property
    def rows(self) -> int:
        """In all tables."""
        return sum(found.rows for found in self.tables.values())


class CopyJob:
    """Copies a store into another one, and compares them."""

    def __init__(self, source: Source, target: Target, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._done = 0
        self._total = 0

    async def run(self) -> Report:
        """Copy what is not copied yet.

        1. begin, or read the progress of an interrupted copy; 2. write table by table, each batch
        with its position; 3. read both stores and compare their checksums; 4. set the target's
        sequences.

        Raises:
            StoreSetupError: the target is not empty, or not of this schema.
            CopyDifferenceError: the stores differ.
            StoreError: one of them failed; run it again to continue.
        """
        state = await self._target.begin(self._source.name())
        counts = self._source.counts()
        # Each row is read, written, and read again on both sides.
        self._total = 3 * sum(counts.values())
        for copied in COPIED:
            await self._write(copied, state)
        report = await self._compare()
        await self._target.finish()
        return report

    async def _write(self, copied: TableCopy, state: CopyState) -> None:
        columns = self._source.columns(copied)
        convert = self._target.converter(copied, columns)
        done = state.rows.get(copied.table, 0)
        self._advance(done, copied.table)
        for batch in _batches(map(convert, self._source.rows(copied, done))):
            done += len(batch)
            state.rows[copied.table] = done
            await self._target.write(copied, columns, batch, state)
            self._advance(len(batch), copied.table)

    async def _compare(self) -> Report:
        tables: dict[str, Checksum] = {}
        differing: list[str] = []
        for copied in COPIED:
            columns = self._source.columns(copied)
            convert = self._target.converter(copied, columns)
            sent = self._sum(copied, map(convert, self._source.rows(copied, 0)))
            words = f"comparing {copied.table}"
            advance = functools.partial(self._advance, words=words)
            found = await self._target.checksum(copied, columns, advance)
            tables[copied.table] = found
            if found != sent:
                differing.append(f"{copied.table} (sent {sent}; there {found})")
        if differing:
            message = (
                f"The stores differ in {', '.join(differing)}. If the source was used since the "
                "copy began, drop the target and start again."
            )
            raise CopyDifferenceError(message)
        return Report(tables)

    def _sum(self, copied: TableCopy, rows: Iterable[Sequence[Any]]) -> Checksum:
        found = Checksum()
        for row in rows:
            found.add(row)
            if found.rows % BATCH_ROWS == 0:
                self._advance(BATCH_ROWS, f"comparing {copied.table}")
        self._advance(found.rows % BATCH_ROWS, f"comparing {copied.table}")
        return found

    def _advance(self, rows: int, words: str) -> None:
        self._done += rows
        self._progress(self._done, self._total, words)


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += sum(len(value) for value in row if isinstance(value, str))
        if len(batch) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
