"""Policies and health."""
