"""Live streams of accepted events."""
