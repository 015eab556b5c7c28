"""Reads what client libraries of other services send. Nothing here knows HTTP."""
