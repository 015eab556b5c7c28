"""Erasing people, and the document of all that is stored about one."""
