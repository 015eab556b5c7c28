"""SQLite: its connections, its writer thread and its files."""
