"""Deliveries: claims, attempts, results, breakers and replays."""
