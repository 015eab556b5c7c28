"""Routes of webhooks, dead letters and replays."""
