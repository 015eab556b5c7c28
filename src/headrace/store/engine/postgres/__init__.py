"""PostgreSQL: its connections, its errors and its settings."""
