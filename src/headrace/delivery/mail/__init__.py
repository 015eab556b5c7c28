"""Composing mails and sending them to a relay."""
