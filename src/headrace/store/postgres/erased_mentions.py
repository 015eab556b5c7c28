"""Rows that are not of a person but name one: rejections, the audit, paths of the catalog.

They are few in a project, and looked at one by one; all in the caller's transaction.
"""

from __future__ import annotations

from headrace.store.postgres.database import Connection
from headrace.store.rows.erasures import READ, Subject, places_naming

_REJECTIONS = "DELETE FROM rejections WHERE id = ANY($1::bigint[])"
_AUDIT = "UPDATE audit SET detail = '{\"erased\":true}' WHERE id = ANY($1::bigint[])"
_PATHS = "DELETE FROM catalog_paths WHERE project_id = $1 AND event = $2 AND path = $3"
_DRIFT = "DELETE FROM catalog_drift WHERE project_id = $1 AND event = $2 AND number = $3"
_EXAMPLES = (
    "UPDATE catalog_names SET example = NULL, example_id = NULL "
    "WHERE project_id = $1 AND event = $2"
)


async def erase_mentions(connection: Connection, subject: Subject) -> dict[str, int]:
    """Remove or blank what names the person; rows by place."""
    project_id = subject.project_id
    rows = {
        name: await connection.fetch(sql.format(p="$1"), project_id) for name, sql in READ.items()
    }
    places = places_naming(subject, rows)
    await connection.execute(_REJECTIONS, places.rejections)
    await connection.execute(_AUDIT, places.audit)
    for path in places.paths:
        await connection.execute(_PATHS, project_id, *path)
    for drift in places.drift:
        await connection.execute(_DRIFT, project_id, *drift)
    for event in places.examples:
        await connection.execute(_EXAMPLES, project_id, event)
    return places.counts()
