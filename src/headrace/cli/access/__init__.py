"""Commands for projects, keys, operators and policies."""
