"""Statements, transactions and databases, the same for both databases."""
