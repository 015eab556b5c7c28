"""What a statement, a transaction and a database are, whichever database it is."""
