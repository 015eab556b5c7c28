"""Routes of push: for clients, without a key, and for servers."""
