"""Rows that are not of a person but name one: rejections, the audit, paths of the catalog.

They are few in a project, and looked at one by one; all in the caller's transaction.
"""

from __future__ import annotations

from headrace.store.contacts.erasure_rows import Subject, places_naming
from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction

READ = {
    "rejections": sql(
        "SELECT id, message, details, route, body_shape FROM rejections WHERE project_id = $1"
    ),
    "audit": sql("SELECT id, detail FROM audit WHERE project_id = $1"),
    "paths": sql("SELECT event, path FROM catalog_paths WHERE project_id = $1"),
    "drift": sql("SELECT event, number, path FROM catalog_drift WHERE project_id = $1"),
    "examples": sql(
        "SELECT event, example FROM catalog_names WHERE project_id = $1 AND example IS NOT NULL"
    ),
}
_REJECTIONS = sql("DELETE FROM rejections WHERE id = ANY($1::bigint[])")
_AUDIT = sql("UPDATE audit SET detail = '{\"erased\":true}' WHERE id = ANY($1::bigint[])")
_PATHS = sql("DELETE FROM catalog_paths WHERE project_id = $1 AND event = $2 AND path = $3")
_DRIFT = sql("DELETE FROM catalog_drift WHERE project_id = $1 AND event = $2 AND number = $3")
_EXAMPLES = sql(
    "UPDATE catalog_names SET example = NULL, example_id = NULL "
    "WHERE project_id = $1 AND event = $2"
)


async def erase_mentions(tx: Transaction, subject: Subject) -> dict[str, int]:
    """Remove or blank what names the person; rows by place."""
    project_id = subject.project_id
    rows = {name: await tx.rows(statement, project_id) for name, statement in READ.items()}
    places = places_naming(subject, rows)
    await tx.run(_REJECTIONS, places.rejections)
    await tx.run(_AUDIT, places.audit)
    await tx.run_many(_PATHS, [(project_id, *path) for path in places.paths])
    await tx.run_many(_DRIFT, [(project_id, *drift) for drift in places.drift])
    await tx.run_many(_EXAMPLES, [(project_id, event) for event in places.examples])
    return places.counts()
