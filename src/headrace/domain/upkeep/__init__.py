"""Retention and roll-ups."""
