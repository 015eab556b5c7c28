"""The filter language: parsed and evaluated."""
