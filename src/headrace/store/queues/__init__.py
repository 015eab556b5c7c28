"""The hot statements, written once per database."""
