"""Commands for contacts and conflicts."""
