"""Frozen types, enums and pure rules; imports nothing else of Headrace."""
