"""Messages to contacts, and their outcomes."""
