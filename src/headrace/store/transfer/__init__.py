"""Copies a whole embedded store into an empty PostgreSQL one."""
