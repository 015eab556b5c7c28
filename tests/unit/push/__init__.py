"""Rules of push."""
