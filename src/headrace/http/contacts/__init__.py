"""Routes of contacts, topics, audiences, merges and erasures."""
