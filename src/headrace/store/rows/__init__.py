"""What both stores make of their rows, and decide about them, alike."""
