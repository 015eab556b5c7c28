"""API keys, operators, sign-in and the policies of a project."""
