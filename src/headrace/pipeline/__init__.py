"""The path of an event from accepting it to the last delivery attempt."""
