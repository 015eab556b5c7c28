"""From a valid event to its answer: the gate and the commit queue."""
