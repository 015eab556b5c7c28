"""Commands that run servers and workers."""
