"""Pages of messages, sending domains, templates, suppressions and sends to audiences."""
