"""Rows that are not of a person but name one: rejections, the audit, paths of the catalog.

They are few in a project, and looked at one by one; all in the caller's transaction.
"""

from __future__ import annotations

import json
from typing import Any

import apsw

from headrace.store.rows.erasures import CHARACTERS_MIN, Mentions, Subject

_REJECTIONS = "SELECT id, message, details, route, body_shape FROM rejections WHERE project_id = ?"
_AUDIT = "SELECT id, detail FROM audit WHERE project_id = ?"
_PATHS = "SELECT event, path FROM catalog_paths WHERE project_id = ?"
_DRIFT = "SELECT event, number, path FROM catalog_drift WHERE project_id = ?"
_EXAMPLES = "SELECT event, example FROM catalog_names WHERE project_id = ? AND example IS NOT NULL"


def erase_mentions(connection: apsw.Connection, subject: Subject) -> dict[str, int]:
    """Remove or blank what names the person; rows by place."""
    named = Mentions(subject.names)
    # Who did what to which contact stays known: an id alone names nobody.
    values = (*subject.external_ids, *subject.emails, *subject.written)
    quoted = Mentions(values, quoted=True)
    # Of a short one nobody can tell whether it is meant.
    said = Mentions(value for value in values if len(value) >= CHARACTERS_MIN)
    project_id = subject.project_id

    def rows(sql: str) -> list[Any]:
        return connection.execute(sql, (project_id,)).fetchall()

    rejections = [row[0] for row in rows(_REJECTIONS) if named(*row[1:])]
    audit = [row[0] for row in rows(_AUDIT) if quoted(row[1])]
    paths = [row for row in rows(_PATHS) if said(row[1])]
    drift = [row for row in rows(_DRIFT) if said(row[2])]
    examples = [row[0] for row in rows(_EXAMPLES) if said(row[1])]
    connection.execute(
        "DELETE FROM rejections WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(rejections),),
    )
    connection.execute(
        "UPDATE audit SET detail = '{\"erased\":true}' "
        "WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(audit),),
    )
    connection.executemany(
        "DELETE FROM catalog_paths WHERE project_id = ? AND event = ? AND path = ?",
        [(project_id, event, path) for event, path in paths],
    )
    connection.executemany(
        "DELETE FROM catalog_drift WHERE project_id = ? AND event = ? AND number = ?",
        [(project_id, event, number) for event, number, _ in drift],
    )
    connection.executemany(
        "UPDATE catalog_names SET example = NULL, example_id = NULL "
        "WHERE project_id = ? AND event = ?",
        [(project_id, event) for event in examples],
    )
    return {
        "rejections": len(rejections),
        "audit": len(audit),
        "catalog_paths": len(paths) + len(drift),
        "catalog_examples": len(examples),
    }
