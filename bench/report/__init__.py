"""Shows a run: a table on the terminal, a file for machines, a page with plots."""
