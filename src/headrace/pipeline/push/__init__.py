"""What devices register and report, and sending to them."""
