"""Bundled tasks on real data; none needs a network."""
