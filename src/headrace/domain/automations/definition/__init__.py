"""Definitions: parsed, checked, and shown as a graph."""
