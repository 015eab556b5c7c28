"""Automations: definitions, publish checks, filters, and what a run does next. All is pure."""
