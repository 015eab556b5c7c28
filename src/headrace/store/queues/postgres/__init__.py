"""The hot statements on PostgreSQL."""
