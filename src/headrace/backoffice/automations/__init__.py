"""Automations: their definitions, runs and rejected starts."""
