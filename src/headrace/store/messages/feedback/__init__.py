"""What comes back after sending: hits, reports of relays, unsubscribes."""
