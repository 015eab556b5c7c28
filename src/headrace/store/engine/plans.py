"""Settings for how a database finds rows, for one transaction."""

from __future__ import annotations

from headrace.store.engine.dialect import sql

# For transactions whose statements all use keys. Plans that PostgreSQL made while a table was small
# would scan all of it once it has grown, until its statistics are renewed; so other plans are
# disabled. SQLite has no statistics and needs no setting.
BY_KEYS = sql(
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; "
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; "
    "SET LOCAL enable_sort = off",
    sqlite="SELECT 1",
)
