"""Commands for mail."""
