"""Automations and their runs, on both stores."""
