"""Routes that read events."""
