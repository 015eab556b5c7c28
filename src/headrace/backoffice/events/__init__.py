"""Pages of events and rejections."""
