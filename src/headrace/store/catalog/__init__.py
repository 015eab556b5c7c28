"""What events look like, as people read it."""
