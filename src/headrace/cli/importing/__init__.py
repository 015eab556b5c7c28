"""`headrace import`: a file of newline-delimited JSON; resumable, without duplicates."""
