"""Pages of subscribers, webhooks, dead letters and replays."""
