"""Merging contacts, and undoing it."""
