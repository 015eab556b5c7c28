"""The catalog of event shapes."""
