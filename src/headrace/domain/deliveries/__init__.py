"""Subscriptions, retries, the circuit breaker and dead letters."""
