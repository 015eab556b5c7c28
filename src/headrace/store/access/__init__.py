"""Access: projects with their keys and policies, operators, members, and the audit."""
