"""Contacts and what belongs to them: topics, audiences, merges and erasures. SQL once."""
