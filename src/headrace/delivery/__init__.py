"""How an event reaches a subscriber."""
