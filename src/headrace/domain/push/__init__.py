"""Push: apps, devices, and what clients report. All is pure."""
