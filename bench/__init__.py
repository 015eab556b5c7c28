"""Measures Headrace on this machine, beside baselines measured in the same run."""
