"""Commands for push."""
