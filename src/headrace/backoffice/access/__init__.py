"""Pages of sign-in, operators, keys, policies and the audit."""
