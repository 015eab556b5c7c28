"""Pages of push apps and devices."""
