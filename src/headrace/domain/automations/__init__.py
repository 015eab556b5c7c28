"""Automations: definitions, publish checks, filters, and decisions of runs. All is pure."""
