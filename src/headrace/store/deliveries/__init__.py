"""Deliveries: to whom, what became of them, and dead letters; written once for both databases."""
