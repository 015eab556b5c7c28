"""Routes for client libraries of other services."""
