"""Headrace: accept events durably, once, and see each one through to its end."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("headrace")
