"""Commands that copy, migrate and measure a store."""
