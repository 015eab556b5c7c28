"""Retention, pruning and other work in the background."""
