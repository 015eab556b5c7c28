"""Subscribers, deliveries and dead letters; written once for both databases."""
