"""The loops that send messages."""
