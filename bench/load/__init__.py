"""The two load generators, both bounded in time and only for the loopback interface."""
