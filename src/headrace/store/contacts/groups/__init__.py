"""Topics and audiences, with subscriptions and memberships."""
