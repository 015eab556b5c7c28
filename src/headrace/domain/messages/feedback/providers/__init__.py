"""Readers of webhooks that mail providers send, and checks of their signatures.

A reader never raises: what it does not know is of kind `unknown`.
"""
