"""Rows that are not of a person but name one: rejections, the audit, paths of the catalog.

They are few in a project, and looked at one by one; all in the caller's transaction.
"""

from __future__ import annotations

import json

import apsw

from headrace.store.rows.erasures import READ, Subject, places_naming

_THESE = "IN (SELECT value FROM json_each(?))"
_REJECTIONS = f"DELETE FROM rejections WHERE id {_THESE}"  # noqa: S608
_AUDIT = f"UPDATE audit SET detail = '{{\"erased\":true}}' WHERE id {_THESE}"  # noqa: S608
_PATHS = "DELETE FROM catalog_paths WHERE project_id = ? AND event = ? AND path = ?"
_DRIFT = "DELETE FROM catalog_drift WHERE project_id = ? AND event = ? AND number = ?"
_EXAMPLES = (
    "UPDATE catalog_names SET example = NULL, example_id = NULL WHERE project_id = ? AND event = ?"
)


def erase_mentions(connection: apsw.Connection, subject: Subject) -> dict[str, int]:
    """Remove or blank what names the person; rows by place."""
    project_id = subject.project_id
    rows = {
        name: connection.execute(sql.format(p="?"), (project_id,)).fetchall()
        for name, sql in READ.items()
    }
    places = places_naming(subject, rows)
    connection.execute(_REJECTIONS, (json.dumps(places.rejections),))
    connection.execute(_AUDIT, (json.dumps(places.audit),))
    connection.executemany(_PATHS, [(project_id, *path) for path in places.paths])
    connection.executemany(_DRIFT, [(project_id, *drift) for drift in places.drift])
    connection.executemany(_EXAMPLES, [(project_id, event) for event in places.examples])
    return places.counts()
