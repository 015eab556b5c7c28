"""Webhooks: which targets are allowed, how a call is signed, and the call itself."""
