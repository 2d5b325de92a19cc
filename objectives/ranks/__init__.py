"""Processes that train one trial together."""
