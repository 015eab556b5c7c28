"""The load generators, bounded in time and only for the loopback interface."""
