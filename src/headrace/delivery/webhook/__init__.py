"""Webhooks: checks of targets, signatures, and calls."""
