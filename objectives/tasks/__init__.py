"""Bundled tasks on real data."""
