"""Pages for operators at `/backoffice`, rendered on the server."""
