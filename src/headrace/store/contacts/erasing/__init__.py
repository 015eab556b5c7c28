"""Erasing what is stored about a person."""
