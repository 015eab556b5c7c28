"""Starts runs and advances them."""
