"""What an event is, and what makes it invalid."""
