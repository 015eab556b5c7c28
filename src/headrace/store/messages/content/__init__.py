"""What mails are made of: templates, sending domains, tracked links, bodies and files."""
