"""How a message becomes a mail and reaches a relay."""
