"""Pages of contacts, conflicts and erasures."""
