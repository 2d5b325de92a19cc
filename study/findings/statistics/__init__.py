"""Robust lines and trends that several findings share."""
