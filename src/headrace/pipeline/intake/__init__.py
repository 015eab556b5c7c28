"""From a valid event to its response: the gate and the commit queue."""
