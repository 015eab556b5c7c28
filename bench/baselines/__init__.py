"""Baselines that Headrace is compared with, each started as its users would start it."""
