"""How a run advances, and what it decides."""
