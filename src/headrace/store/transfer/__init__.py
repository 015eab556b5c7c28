"""Move a whole store: every row of an embedded one into an empty PostgreSQL one."""
