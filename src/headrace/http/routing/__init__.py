"""The route table's parts: routes, matching, parameters."""
