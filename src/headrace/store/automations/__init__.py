"""Automations, their runs, and the transactions that advance these."""
