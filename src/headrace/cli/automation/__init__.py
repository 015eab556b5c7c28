"""`headrace automation`: what follows an event."""
