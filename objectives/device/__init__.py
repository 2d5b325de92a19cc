"""Devices: their names, hardware and random numbers."""
