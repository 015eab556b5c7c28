"""What keeps a store small and tells how it does: counters, retention, sizes, leases."""
