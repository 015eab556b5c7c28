"""Measures Headrace on this machine, together with baselines in the same run."""
