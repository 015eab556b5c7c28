"""Sending: e-mails and jobs, the queue of messages, what an attempt needs and how it ends."""
