"""Automations and their runs."""
