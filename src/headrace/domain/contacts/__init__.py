"""Contacts: identity, properties, merging, topics and audiences."""
