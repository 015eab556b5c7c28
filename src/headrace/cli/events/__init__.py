"""Commands that send, list, follow and export events."""
