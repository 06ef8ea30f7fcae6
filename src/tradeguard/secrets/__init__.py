"""Secrets at rest: the master keys and what is sealed under them."""
