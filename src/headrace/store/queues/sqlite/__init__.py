"""The hot statements on SQLite."""
