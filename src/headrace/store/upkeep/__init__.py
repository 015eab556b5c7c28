"""Upkeep of a store: counters, retention, sizes, leader leases."""
