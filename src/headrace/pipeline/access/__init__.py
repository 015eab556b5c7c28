"""API keys and operators in memory, and rate limits."""
