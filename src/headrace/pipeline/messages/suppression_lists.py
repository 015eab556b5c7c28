"""Imports and exports the suppression list of a project as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterable

import msgspec

from headrace.domain.messages.suppression_files import (
    EXPORT_COLUMNS,
    PROBLEMS_MAX,
    BadLine,
    ImportRules,
    Listed,
    export_row,
    read_suppressions,
)
from headrace.store.messages.suppressions import SLICE, Suppressions

#: Entries of an export that are read at a time.
PAGE = 500


class ImportReport(msgspec.Struct, kw_only=True):
    """What an import did."""

    #: Addresses that were not on the list.
    added: int = 0
    #: Addresses that were on it for the same reason.
    already_listed: int = 0
    #: Lines that were not imported; the first `PROBLEMS_MAX` of them are named.
    rejected: int = 0
    problems: list[BadLine] = msgspec.field(default_factory=list)


async def import_suppressions(
    suppressions: Suppressions,
    project_id: int,
    lines: Iterable[str],
    rules: ImportRules,
    *,
    now_us: int,
    actor: str,
) -> ImportReport:
    """Import a file in transactions of up to `SLICE` entries. To repeat an import changes nothing.

    Raises:
        StoreError: the entries before are imported.
    """
    scope = await suppressions.complaint_scope(project_id)
    rules = msgspec.structs.replace(rules, complaint_scope=scope)
    report = ImportReport()
    waiting: list[Listed] = []

    async def write() -> None:
        if waiting:
            added = await suppressions.import_slice(project_id, waiting, now_us, actor=actor)
            report.added += added
            report.already_listed += len(waiting) - added
            waiting.clear()

    for found in read_suppressions(lines, rules):
        if isinstance(found, Listed):
            waiting.append(found)
            if len(waiting) >= SLICE:
                await write()
            continue
        report.rejected += 1
        if len(report.problems) < PROBLEMS_MAX:
            report.problems.append(found)
    await write()
    return report


async def export_suppressions(suppressions: Suppressions, project_id: int) -> AsyncIterator[str]:
    """The list as pieces of a CSV file, newest entry first.

    Entries of erased persons have no address and are left out.
    """
    yield _text([EXPORT_COLUMNS])
    before: tuple[int, str] | None = None
    while True:
        page = await suppressions.list(project_id, before=before, limit=PAGE)
        rows = [
            export_row(
                one.email,
                one.reason.value,
                one.scope.value,
                one.note,
                one.evidence,
                one.created_by,
                one.since_us,
            )
            for one in page
            if one.email is not None
        ]
        if rows:
            yield _text(rows)
        if len(page) < PAGE:
            return
        before = (page[-1].since_us, page[-1].id)


def _text(rows: Iterable[Iterable[str]]) -> str:
    held = io.StringIO(newline="")
    csv.writer(held).writerows(rows)
    return held.getvalue()
