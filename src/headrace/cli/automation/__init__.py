"""`headrace automation`: automations and their runs."""
