"""What Headrace is measured against, each started as its users would start it."""
