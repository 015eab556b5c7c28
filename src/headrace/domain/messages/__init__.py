"""Messages to contacts: keys, tokens, guardrails, server responses. All is pure."""
