"""Erasing and exporting what is stored about a person."""
