"""Keys, encryption and transports of push notifications."""
