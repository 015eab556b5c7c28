"""The hot routes: accepting events."""
