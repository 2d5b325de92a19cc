"""Decides: what to try next, when to stop, what the results mean."""
