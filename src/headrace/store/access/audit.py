"""Audit entries, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from headrace.store.contract.operators import (
    AUDIT_KEPT_PER_PROJECT,
    AUDIT_KEPT_US,
    AuditEntry,
)
from headrace.store.contract.sign_in import AuditFilter, AuditRow
from headrace.store.engine.dialect import Statement, sql
from headrace.store.engine.numbers import BIGINT_MAX
from headrace.store.engine.transaction import Row, Transaction

#: Entries that one search of the audit examines at most, so that a rare value has a bounded cost.
AUDIT_EXAMINED_MAX = 50_000

_COLUMNS = "id, at_us, actor, action, detail, project_id"
_INSERT = sql(
    "INSERT INTO audit (at_us, actor, project_id, action, detail) VALUES ($1, $2, $3, $4, $5)"
)
OF_PROJECT = sql(
    f"SELECT {_COLUMNS} FROM audit WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
)


def _find(inner: str) -> Statement:
    return sql(
        f"SELECT {_COLUMNS} FROM (SELECT {_COLUMNS} FROM audit WHERE {inner} "
        "ORDER BY id DESC LIMIT $2) n WHERE ($4::text IS NULL OR action = $4) "
        "AND ($5::text IS NULL OR substr(action, 1, length($5)) = $5) "
        "AND ($6::text IS NULL OR strpos(lower(actor), lower($6)) > 0) "
        "AND ($7::bigint IS NULL OR at_us >= $7) AND ($8::bigint IS NULL OR at_us < $8) "
        "ORDER BY id DESC LIMIT $3"
    )


FIND = _find("id < $1")
FIND_OF_PROJECT = _find("id < $1 AND project_id = $9")

# One seek finds whether a project has entries that old. PostgreSQL uses no index for IS NOT
# DISTINCT FROM, so entries about no project have statements of their own.
_OLDEST = "SELECT at_us FROM audit WHERE {of} ORDER BY id LIMIT 1"
_EXPIRED = (
    "SELECT id FROM (SELECT id, at_us FROM audit WHERE {of} "
    "AND id <= (SELECT id FROM audit WHERE {of} ORDER BY id DESC LIMIT 1 OFFSET $2) "
    "ORDER BY id LIMIT $3) n WHERE at_us < $1"
)
OLDEST = sql(_OLDEST.format(of="project_id = $1"))
OLDEST_OF_NONE = sql(_OLDEST.format(of="project_id IS NULL"))
EXPIRED = sql(_EXPIRED.format(of="project_id = $4"))
EXPIRED_OF_NONE = sql(_EXPIRED.format(of="project_id IS NULL"))
REMOVE = sql("DELETE FROM audit WHERE id = ANY($1::bigint[])")
# Project 0 is that of handlers, which belong to all projects.
_PROJECTS = sql("SELECT id FROM projects UNION ALL SELECT 0")


async def write_audit(
    tx: Transaction,
    at_us: int,
    actor: str,
    project_id: int | None,
    action: str,
    detail: dict[str, Any],
) -> None:
    """Add an entry; `detail` holds ids and settings, never a secret or a payload."""
    text = msgspec.json.encode(detail).decode()
    await tx.run(_INSERT, at_us, actor, project_id, action, text)


async def read_audit(
    tx: Transaction, project_id: int, before: int | None, limit: int
) -> Sequence[AuditEntry]:
    """Entries about a project, newest first, below id `before`."""
    below = BIGINT_MAX if before is None else before
    return [_audit_row(row).entry for row in await tx.rows(OF_PROJECT, project_id, below, limit)]


async def find_audit(
    tx: Transaction, wanted: AuditFilter, before: int | None, limit: int
) -> Sequence[AuditRow]:
    """Matching entries, newest first, below id `before`; examines `AUDIT_EXAMINED_MAX`."""
    action = prefix = None
    if wanted.action is not None and wanted.action.endswith("."):
        prefix = wanted.action
    else:
        action = wanted.action
    values: list[Any] = [BIGINT_MAX if before is None else before, AUDIT_EXAMINED_MAX, limit]
    values += [action, prefix, wanted.actor, wanted.after_us, wanted.before_us]
    if wanted.project_id is None:
        rows = await tx.rows(FIND, *values)
    else:
        rows = await tx.rows(FIND_OF_PROJECT, *values, wanted.project_id)
    return [_audit_row(row) for row in rows]


async def prune_audit(tx: Transaction, now_us: int, limit: int) -> int:
    """Remove expired entries, at most `limit` of a project; returns how many."""
    before_us, removed = now_us - AUDIT_KEPT_US, 0
    places = [(OLDEST_OF_NONE, EXPIRED_OF_NONE, ())]
    places += [(OLDEST, EXPIRED, tuple(row)) for row in await tx.rows(_PROJECTS)]
    for oldest, expired, project in places:
        oldest_us = await tx.value(oldest, *project)
        if oldest_us is not None and oldest_us < before_us:
            values = (before_us, AUDIT_KEPT_PER_PROJECT, limit, *project)
            ids = [row[0] for row in await tx.rows(expired, *values)]
            removed += await tx.run(REMOVE, ids)
    return removed


def _audit_row(row: Row) -> AuditRow:
    number, at_us, actor, action, detail, project_id = row
    entry = AuditEntry(id=number, at_us=at_us, actor=actor, action=action, detail=detail)
    return AuditRow(entry=entry, project_id=project_id)
