"""Planted worlds: made-up studies whose truth is known, one kind of trouble each."""
