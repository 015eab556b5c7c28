"""Rows that mention a person: rejections, the audit, paths of the catalog.

A project has few of them, and each is examined; in the caller's transaction.
"""

from __future__ import annotations

import msgspec

from headrace.store.engine.dialect import sql
from headrace.store.engine.transaction import Transaction
from headrace.store.privacy.rows import Places, Subject, places_naming

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
# A row for each worker that has seen the path.
PRESENT = sql(
    "SELECT path, sum(present) FROM catalog_paths "
    "WHERE project_id = $1 AND event = $2 GROUP BY path"
)
_REJECTIONS = sql("DELETE FROM rejections WHERE id = ANY($1::bigint[])")
_AUDIT = sql("UPDATE audit SET detail = '{\"erased\":true}' WHERE id = ANY($1::bigint[])")
_PATHS = sql("DELETE FROM catalog_paths WHERE project_id = $1 AND event = $2 AND path = $3")
_DRIFT = sql("DELETE FROM catalog_drift WHERE project_id = $1 AND event = $2 AND number = $3")
_EXAMPLES = sql(
    "UPDATE catalog_names SET example = NULL, example_id = NULL "
    "WHERE project_id = $1 AND event = $2"
)


async def find_mentions(tx: Transaction, subject: Subject) -> Places:
    """Rows that name the person, or that exist only because of the person's events."""
    project_id = subject.project_id
    rows = {name: await tx.rows(statement, project_id) for name, statement in READ.items()}
    places = places_naming(subject, rows)
    alone = {
        (event, path)
        for event, counts in subject.paths.items()
        for path, present in await tx.rows(PRESENT, project_id, event)
        # Where payloads were sampled, fewer events were inspected than removed.
        if present <= counts.get(path, 0)
    }
    if not alone:
        return places
    drift = {(row[0], row[1]) for row in rows["drift"] if (row[0], row[2]) in alone}
    return msgspec.structs.replace(
        places,
        paths=sorted({*places.paths, *alone}),
        drift=sorted({*places.drift, *drift}),
    )


async def erase_mentions(tx: Transaction, subject: Subject) -> dict[str, int]:
    """Remove or blank what names the person; returns the number of rows by place."""
    project_id = subject.project_id
    places = await find_mentions(tx, subject)
    await tx.run(_REJECTIONS, places.rejections)
    await tx.run(_AUDIT, places.audit)
    await tx.run_many(_PATHS, [(project_id, *path) for path in places.paths])
    await tx.run_many(_DRIFT, [(project_id, *drift) for drift in places.drift])
    await tx.run_many(_EXAMPLES, [(project_id, event) for event in places.examples])
    return places.counts()
