"""What is sent to contacts, and what became of it."""
