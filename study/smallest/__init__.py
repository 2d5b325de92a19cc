"""Finds the smallest batch size that still reaches a target."""
