"""Contacts, topics, audiences and merges; written once for both databases."""
