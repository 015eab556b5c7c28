"""Routes of mail."""
