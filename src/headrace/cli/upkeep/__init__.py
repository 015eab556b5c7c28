"""Commands that compact, copy, migrate and measure a store."""
