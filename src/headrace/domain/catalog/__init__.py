"""What the catalog learns from payloads."""
