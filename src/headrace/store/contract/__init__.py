"""What a store does, as the pipeline and the edges see it."""
