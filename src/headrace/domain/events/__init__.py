"""Events and their validation."""
