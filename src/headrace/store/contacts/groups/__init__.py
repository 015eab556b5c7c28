"""Topics and audiences, and who belongs to them."""
