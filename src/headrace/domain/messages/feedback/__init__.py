"""Reads what comes back after a mail was sent, and decides what it says about the address.

Mail to a bounce address and webhooks of providers are all read into one form, `form.Feedback`.
"""
