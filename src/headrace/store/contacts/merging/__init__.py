"""Merging contacts, and undoing merges."""
