"""The trace of an event."""
