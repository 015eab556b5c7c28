"""Reading and removing stored events."""
