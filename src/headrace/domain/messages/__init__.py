"""Messages to one contact: names, tokens, guardrails, answers, without input or output."""
