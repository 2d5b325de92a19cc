"""Keeps studies. Knows neither torch nor objectives."""
