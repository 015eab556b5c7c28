"""`headrace automation`: checking automations."""
