"""From the accept to the last retry."""
